"""Programs for those who work on fanpulse; no part of the distribution."""
