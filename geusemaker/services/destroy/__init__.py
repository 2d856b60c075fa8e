"""Taking a deployment down; its data stays unless that is asked for by name."""
