"""How the instance is logged in to: its one key, its one host key, and what went wrong in words. Cheap to import."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from geusemaker.errors import HostError

if TYPE_CHECKING:
    import asyncssh

    from geusemaker.host.forwarding import Forwarding
    from geusemaker.models.stack import Secrets, Target

LOST: Final = "the connection was lost while a command was running; it may still go on there"

# What to do next, for those codes that have one answer.
_NEXT_STEPS: Final[dict[str, str]] = {
    "unreachable": "Check that the instance runs and that your address may connect to it, then try again.",
    "host_key_mismatch": "Do not connect. Find out who answers on that address; nothing was sent to it.",
    "auth_failed": "The key in this deployment's secrets is not the one the instance knows.",
    "lease_held": "Wait for that operation to end. If its owner is gone, run `geusemaker recover`.",
    "lease_lost": "Run `geusemaker status` to see what the deployment is doing.",
    "not_mounted": "Run `geusemaker recover`: it mounts the file system before anything is started.",
    "mount_failed": "Check the file system, its mount target and the instance's network in AWS, then run `geusemaker "
    "recover`. Nothing is started without its data.",
    "efs_hung": "Check the file system and its mount target in AWS; services are not touched until it answers.",
    "data_loss": "Start nothing by hand. Look at the file system and its backups first.",
    "foreign_data": "Deploy under the name the data belongs to, or give this deployment a file system of its own.",
    "no_space": "Enlarge the instance's disk with an update that does only that (--root-volume), then try again.",
    "image_missing": "Check the image reference: its tag or digest is not in the registry.",
}


@dataclass(frozen=True)
class Login:
    """Where the instance's SSH server is, whom to log in as, and by which keys.

    ``private_key`` is the login key itself (OpenSSH or PEM text), not a path; ``host_key`` the instance's public host
    key as in ``ssh-ed25519 AAAA…``: any other is refused. ``connect_timeout`` is in seconds, log-in included.
    """

    address: str
    port: int
    user: str
    private_key: str = field(repr=False)
    host_key: str
    connect_timeout: float = 15.0
    through: Forwarding | None = field(default=None, repr=False, compare=False)
    """What leads there, where address and port do not by themselves."""

    @classmethod
    def of(cls, address: str, target: Target, secrets: Secrets, through: Forwarding | None = None) -> Login:
        """That of a deployment whose instance has this address."""
        key = secrets.ssh_private_key
        return cls(address, target.ssh_port, target.ssh_user, key, target.host_public_key, through=through)

    def within(self, seconds: float) -> Login:
        """The same, given up sooner or later."""
        return replace(self, connect_timeout=seconds)

    def failed(self, code: str, what: str) -> HostError:
        """The error that says ``what`` of this address."""
        where = f"{self.address}:{self.port}" + (" (through Session Manager)" if self.through is not None else "")
        return host_error(code, f"{where} {what}.")

    def unreachable(self, why: str) -> HostError:
        """The error that says why nobody gets there."""
        return self.failed("unreachable", f"cannot be reached: {why}")

    def release(self) -> None:
        """End what leads there, where something had to be begun for it; ``connect`` begins it again."""
        if self.through is not None:
            self.through.stop()

    async def connect(self) -> asyncssh.SSHClientConnection:
        """A new connection, kept alive by questions every 15 s. When all are done with, ``release`` it.

        Raises:
            HostError: ``unreachable``, ``host_key_mismatch`` or ``auth_failed``.
            EnvironmentProblemError: there is no way through Session Manager.
        """
        import asyncssh

        address, port = await self._place()

        try:
            host_key = asyncssh.import_public_key(self.host_key)
            login_key = asyncssh.import_private_key(self.private_key)
        except asyncssh.KeyImportError as error:
            raise HostError(f"A key of the deployment cannot be read: {error}.", code="auth_failed") from None
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await asyncssh.connect(
                    address,
                    port,
                    username=self.user,
                    client_keys=[login_key],
                    known_hosts=([host_key], [], []),
                    config=None,  # the operator's own SSH configuration has no say here
                    agent_path=None,
                    preferred_auth="publickey",
                    keepalive_interval=15,
                    keepalive_count_max=3,
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise self.failed("host_key_mismatch", "is not the instance: it shows another host key") from error
        except asyncssh.KeyExchangeFailed as error:
            # It offers no key of the known key's kind.
            raise self.failed("host_key_mismatch", "is not the instance: it has no such host key") from error
        except asyncssh.ConnectionLost as error:
            # The same, where it hangs up so quickly that its reason is lost with the connection.
            shown = await self._shown_host_key(address, port)
            if shown is not None and shown.public_data != host_key.public_data:
                raise self.failed("host_key_mismatch", "is not the instance: it shows another host key") from error
            raise self.unreachable(why(error)) from error
        except asyncssh.PermissionDenied as error:
            raise self.failed("auth_failed", f"refused the login of {self.user}") from error
        except TimeoutError as error:
            raise self.unreachable(f"no answer within {self.connect_timeout:g} seconds") from error
        except (OSError, asyncssh.Error) as error:
            raise self.unreachable(why(error)) from error

    async def _place(self) -> tuple[str, int]:
        """Where a connection is made to."""
        if self.through is None:
            return self.address, self.port
        from geusemaker.host.forwarding import HERE

        return HERE, await asyncio.to_thread(self.through.start)

    async def _shown_host_key(self, address: str, port: int) -> asyncssh.SSHKey | None:
        """The host key that the server shows to anyone; None where it shows none. Nothing is sent to it."""
        import asyncssh

        try:
            async with asyncio.timeout(self.connect_timeout):
                return await asyncssh.get_server_host_key(address, port, config=None)
        except (OSError, asyncssh.Error):  # a timeout is an OSError
            return None


def host_error(code: str, message: str, detail: dict[str, Any] | None = None) -> HostError:
    """An error of the instance, with what to do next where that is always the same."""
    return HostError(message, code=code, detail=detail, next_step=_NEXT_STEPS.get(code, ""))


def why(error: BaseException) -> str:
    """An SSH or socket error in few words."""
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(reason).strip().rstrip(".").lower() or type(error).__name__
