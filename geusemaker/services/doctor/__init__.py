"""What is wrong with a deployment's backend, and what mends it."""
