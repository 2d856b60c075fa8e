"""What runs on the instance, as root and next to the data. Standard library and itself only: it is shipped there."""
