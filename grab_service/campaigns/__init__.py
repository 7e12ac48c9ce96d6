"""Campaigns: written, looked ahead, steered by ops, shown to members."""
