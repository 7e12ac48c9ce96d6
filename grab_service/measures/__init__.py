"""Figures that are counted in plain numbers, and handed to Prometheus when they are flushed."""
