"""Stand-ins for the AWS and command providers of Pulumi, to be attached to engines by PULUMI_DEBUG_PROVIDERS.

Importing this costs 0.4 s and 40 MB (gRPC and Pulumi's protocol); only the local cloud's daemon does.
"""

from __future__ import annotations

from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.providers.aws.provider import AwsProvider
from geusemaker.local_cloud.providers.command.provider import CommandProvider
from geusemaker.local_cloud.providers.server import ProviderServer

__all__ = ["ProviderServer", "serve_aws", "serve_command"]


def serve_aws(aws_endpoint: str, key: AccessKey, region: str = "us-east-1", port: int = 0) -> ProviderServer:
    """Serve the AWS provider on 127.0.0.1; port 0 takes a free one. It calls the API with ``key``.

    Raises:
        OSError: the port is taken.
    """
    return ProviderServer(AwsProvider(aws_endpoint, region, key), port, "aws")


def serve_command(port: int = 0) -> ProviderServer:
    """Serve the command provider on 127.0.0.1; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    return ProviderServer(CommandProvider(), port, "command")
