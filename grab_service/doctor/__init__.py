"""The doctor: checks of everything that the service depends on, their results, and hints."""
