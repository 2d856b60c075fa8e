"""What happens for each verb, and in which order."""
