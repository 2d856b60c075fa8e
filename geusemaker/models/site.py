"""What of a deployment is open to the internet, under which names. Pure.

A fact of the deployment, like the addresses that may connect by SSH: no version has it, and no rollback changes it.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from geusemaker.catalog.service import ServiceName
from geusemaker.models.base import Model

HTTP_PORT = 80
HTTPS_PORT = 443


class Site(Model):
    """The domains of a deployment. One without any has no Site."""

    domains: dict[ServiceName, str] = Field(min_length=1)
    """Service → the host name under which it is open; each has another."""
    http_port: int = Field(default=HTTP_PORT, ge=1, le=65535)
    """Answers with a redirection; certificate authorities ask there, too."""
    https_port: int = Field(default=HTTPS_PORT, ge=1, le=65535)
    """Where HTTPS is answered."""
    internal_ca: bool = False
    """Whether certificates are of an authority of Caddy's own, which no browser knows: the local cloud's."""
    exposed: tuple[str, ...] = ()
    """Images, with their tag, that are open although their release is known to be open to anybody: a person said so."""

    @property
    def ports(self) -> tuple[int, int]:
        """The ports that are open to everybody."""
        return self.http_port, self.https_port

    @property
    def asked(self) -> dict[str, Any]:
        """What the agent is asked of the domains."""
        return {"hosts": sorted(self.domains.values()), "port": self.https_port, "internal_ca": self.internal_ca}

    def url(self, service: ServiceName) -> str:
        """Where a service is reached; with the slash at its end."""
        port = "" if self.https_port == HTTPS_PORT else f":{self.https_port}"
        return f"https://{self.domains[service]}{port}/"
