"""Stop services on purpose, and start them again."""
