"""The Pulumi program: what a deployment consists of. The same for AWS and for the local cloud."""
