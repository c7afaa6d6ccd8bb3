"""Assertions to write healthchecks with.

An `AssertionError` says that the other side is at fault. Where it cannot be judged, other exceptions are raised.
"""
