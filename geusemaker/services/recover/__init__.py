"""Repair after a killed or failed operation."""
