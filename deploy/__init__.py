"""Surroundings of the service on a machine of its own: image, proxy, secrets."""
