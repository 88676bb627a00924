"""Milestones and spikes: decided from the totals, recorded once, delivered to people."""
