"""Healthchecks collected and run on demand."""
