"""What each service holds: how it is listed, copied and put back, and what of it is secret."""
