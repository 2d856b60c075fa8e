"""Copies of all data, on demand."""
