"""Identification of callers: assertions of the host app, keys, ended tokens."""
