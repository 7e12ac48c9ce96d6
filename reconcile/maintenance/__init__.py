"""What goes on beside the drain: unfinished work, old entries, settings of Redis."""
