"""What runs inside a container: one module a service, plus the programs that ``docker exec`` finds in its image."""
