"""Healthchecks to run as they are, or to inherit from."""
