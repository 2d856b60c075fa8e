"""A change tried on a copy of the data, and the way back from it measured."""
