"""Import what the commands import, so that Python keeps it compiled. Run once, at set-up.

Where PYTHONDONTWRITEBYTECODE is set (containers, CI) nothing would ever be kept, and each command would compile
pulumi_aws' large modules again: two seconds more. Compiling the whole of that package, however, takes minutes.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

sys.dont_write_bytecode = False

import geusemaker  # noqa: E402

for module in pkgutil.walk_packages(geusemaker.__path__, "geusemaker."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

import pulumi_aws as aws  # noqa: E402

# Its submodules are loaded when they are first named.
for service in (aws.ec2.Instance, aws.efs.FileSystem, aws.iam.Role):
    service.__name__  # noqa: B018
for name in ("asyncssh", "boto3", "moto.server", "moto.ec2", "moto.efs", "moto.iam", "moto.ssm", "moto.s3", "moto.sts"):
    importlib.import_module(name)
for name in ("ec2", "efs", "iam", "ssm", "s3", "sts", "kms", "backup"):
    importlib.import_module(f"moto.{name}.responses")
