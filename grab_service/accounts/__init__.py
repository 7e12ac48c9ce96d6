"""Tokens of ops: listed and ended."""
