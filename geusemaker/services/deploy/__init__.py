"""The first deploy of a name, or a deploy after a destroy."""
