"""Is everything that the service stands on as it must be? What is looked at, what was found, and how to mend it."""
