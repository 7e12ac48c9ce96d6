"""The members and the cheaters of a locust run, and how such a run is judged. Most modules import locust."""
