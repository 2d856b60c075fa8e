"""What there is and how it is: versions, services, instance, data."""
