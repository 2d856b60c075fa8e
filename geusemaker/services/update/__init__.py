"""A change of a running deployment."""
