"""Telling others what an operation comes to: hooks and notifications. None of them delays or stops it."""
