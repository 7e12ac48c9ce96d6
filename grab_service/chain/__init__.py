"""The chain of the log, for those who check it."""
