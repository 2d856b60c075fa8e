"""A return of the data to a checkpoint, on request."""
