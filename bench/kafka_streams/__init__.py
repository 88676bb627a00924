"""The Java baseline of the aggregator: its sources, its jars, and the code that runs it."""
