"""A return to an earlier version."""
