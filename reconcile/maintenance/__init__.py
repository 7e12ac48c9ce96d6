"""Work beside the drain: unfinished work, old entries, settings of Redis."""
