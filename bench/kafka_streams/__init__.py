"""The Java peer of the aggregator: its sources, the jars it needs, and how it is run."""
