"""``diff``: what differs between two versions."""
