"""Alarms of the ledger, and their acknowledgement by ops."""
