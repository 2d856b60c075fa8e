"""Stand-in for pulumi-resource-aws: a dozen resource types, carried out through boto3."""
