"""A pipeline step: bring a release in, run a smoke test of your own, and go back if it fails.

    python examples/pipeline.py DEPLOYMENT SERVICE IMAGE COMMAND [ARGUMENT...]

COMMAND is the smoke test: 0 means the release is good. Exit codes are geusemaker's; 3: the earlier version is back.
"""

import subprocess
import sys

from geusemaker import GeusemakerError, RollbackRequest, UpdateRequest, Workspace


def release(name: str, service: str, image: str, *smoke_test: str) -> int:
    deployment = Workspace.find().deployment(name)
    # This waits: until the release is healthy, or until the update has failed and gone back by itself.
    update = deployment.update(UpdateRequest(images={service: image}, reason="pipeline"))
    if not update.success:
        print(update.error_message, update.next_step, file=sys.stderr)
        return update.exit_code
    if subprocess.run(smoke_test).returncode == 0:
        return 0
    if not update.operation_id:  # the image was active already: there is nothing to take back
        return 1
    try:
        back = deployment.rollback(RollbackRequest(reason="smoke test failed"))
    except GeusemakerError as error:  # refused, say because the older release cannot read the newer one's data
        print("The smoke test failed, and the release is still active.", error, file=sys.stderr)
        return 4
    print(f"The smoke test failed; v{back.version} is active.", back.error_message or "", file=sys.stderr)
    return 3 if back.success else 4


if __name__ == "__main__":
    try:
        sys.exit(release(*sys.argv[1:]))
    except GeusemakerError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
