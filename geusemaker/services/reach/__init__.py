"""The way to a deployment's instance and its services, for those who use them. Nothing is changed by it."""
