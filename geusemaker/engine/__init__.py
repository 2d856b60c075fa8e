"""Pulumi through its Automation API: find or build the engine, preview, apply, read the history, secrets and locks."""
