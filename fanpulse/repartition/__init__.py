"""A stream with another number of partitions: the counted events of one namespace, copied into another."""
