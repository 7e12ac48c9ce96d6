"""The main job shown whole: a campaign, a crowd, a report."""
