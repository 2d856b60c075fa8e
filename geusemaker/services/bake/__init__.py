"""A version that is watched for a while after its gate has passed, with measures and with the operator's own tests."""
