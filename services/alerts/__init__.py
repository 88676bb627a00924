"""Milestones and spikes: decided from the totals, each on record once, and told to people."""
