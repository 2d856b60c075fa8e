"""Marks on versions."""
