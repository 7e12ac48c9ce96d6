"""Who of ops did what, when and why."""
