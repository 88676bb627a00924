"""Taking events back: finding them in the log, and writing their voids (docs/adr/0016-voids.md)."""
