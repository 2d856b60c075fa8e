"""What AWS and image registries say: read-only questions, asked before and after a change."""
