"""Feature: what was answered in a campaign, second by second."""
