"""Frozen pydantic models: the nouns of geusemaker."""
