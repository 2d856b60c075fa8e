"""One look at what is answered under the deployment's domains, from the instance: certificate, and status."""

from __future__ import annotations

import re
import socket
from typing import Final

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError

AUTHORITY: Final = "caddy/caddy/pki/authorities/local/root.crt"
"""The root of Caddy's own certificate authority, below EFS (caddyserver.com/docs/automatic-https, "Local HTTPS")."""
_SECONDS: Final = 4.0
_HOST: Final = re.compile(r"[a-z0-9.-]{1,253}")


def look_at_domains(agent: Agent, document: Document) -> Json | None:
    """Host → how it answers; None where nobody asks. Certificates are judged as a browser does."""
    if document.values.get("domains") is None:
        return None
    wanted = Document(document.values["domains"])
    hosts, port = wanted.items("hosts"), int(wanted.number("port", 443))
    if not all(isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
        raise AgentError("bad_input", "A domain is a host name in small letters.")
    authority = None
    if wanted.values.get("internal_ca"):
        authority, problem = or_problem(lambda: agent.on_efs(lambda: _text(agent), 5))
        if authority is None:
            return {str(host): _answer(problem=problem or "there is no certificate authority yet") for host in hosts}
    return {str(host): _look(agent.address, port, str(host), authority) for host in hosts}


def _text(agent: Agent) -> str | None:
    file = agent.efs / AUTHORITY
    return file.read_text() if file.is_file() else None


def _answer(until: str = "", problem: str = "", status: int | None = None) -> Json:
    return {"certificate_until": until, "problem": problem, "status": status}


def _look(address: str, port: int, host: str, authority: str | None) -> Json:
    import ssl
    import time

    context = ssl.create_default_context(cadata=authority)
    until = ""
    try:
        with (
            socket.create_connection((address, port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            ends = ssl.cert_time_to_seconds(str((connection.getpeercert() or {})["notAfter"]))
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
            name = host if port == 443 else f"{host}:{port}"
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            first = connection.recv(64)
    except ssl.SSLCertVerificationError as error:
        return _answer(problem=f"its certificate is not valid ({error.verify_message})")
    except ssl.SSLError as error:
        return _answer(until, "there is no certificate" if not until else str(error.reason or error))
    except OSError as error:
        return _answer(until, str(error))
    status = re.match(rb"HTTP/1\.\d (\d{3})", first)
    return _answer(until, "" if status else "it does not speak HTTP", int(status[1]) if status else None)
