"""Stand-in for pulumi-resource-command."""
