"""How AWS's agent gets onto an instance: it is run as it is shipped, with programs in the places of the system's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geusemaker.host import session_agent
from geusemaker.host.bundle import session_agent as text
from geusemaker.local_cloud.machine.gpgv import fingerprint
from geusemaker.program.instance import user_data
from geusemaker.services.secrets import generate
from tests.unit.samples import target

SECRETS = generate()
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> "{folder}/asked"
case "$(basename "$0") $*" in
systemctl*is-active*) [ -e "{folder}/runs" ] ;;
systemctl*) {starts} ;;
*architecture) echo arm64 ;;
gpgv*) cat "{folder}/verdict"; [ "$(cat "{folder}/good")" = yes ] ;;
*apt-get*install*) cp "{folder}/bin/dpkg" "{folder}/bin/gpgv" ;;
esac
"""


class Machine:
    """What the program finds."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.environment = {"PATH": f"{folder}/bin:/bin", "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
        self.put("dpkg", "systemctl", "apt-get", "gpgv")
        self.signed(f"[GNUPG:] VALIDSIG {session_agent.FINGERPRINT} 2026-11-01")

    def put(self, *names: str, starts: bool = True) -> None:
        for name in names:
            file = self.folder / "bin" / name
            does = f'touch "{self.folder}/runs"' if starts else ":"
            file.write_text(PROGRAM.format(folder=self.folder, starts=does))
            file.chmod(0o755)

    def signed(self, verdict: str, good: str = "yes") -> None:
        (self.folder / "verdict").write_text(verdict + "\n")
        (self.folder / "good").write_text(good)

    def run(self) -> tuple[int, str]:
        command = [sys.executable, "-", "eu-central-1", "amazonaws.com"]
        # Debian's gpgv of this machine is not the instance's.
        source = text().replace("PAUSE = 3.0", "PAUSE = 0.0").replace("TRIES = 10", "TRIES = 2")
        done = subprocess.run(command, input=source, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    @property
    def asked(self) -> str:
        return (self.folder / "asked").read_text()


@pytest.fixture
def bucket() -> Iterator[tuple[int, dict[str, bytes]]]:
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = files.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, files
    server.shutdown()
    server.server_close()


@pytest.fixture
def machine(tmp_path: Path, bucket: tuple[int, dict[str, bytes]]) -> Machine:
    port, files = bucket
    place = "/amazon-ssm-eu-central-1/latest/debian_arm64/amazon-ssm-agent.deb"
    files.update({place: b"package", f"{place}.sig": b"signature"})
    return Machine(tmp_path, port)


def test_it_is_aws_s_package_of_the_region_and_its_key_has_signed_it(machine: Machine) -> None:
    assert machine.run() == (0, "")
    asked = machine.asked.splitlines()
    assert [line.split()[0] for line in asked] == [
        *("systemctl", "systemctl", "dpkg", "gpgv", "dpkg", "systemctl", "systemctl"),
    ]
    assert "--keyring" in asked[3] and asked[3].endswith("amazon-ssm-agent.deb.sig " + asked[4].split()[-1])
    assert asked[5] == "systemctl enable --now amazon-ssm-agent"
    assert machine.run() == (0, "") and "dpkg" not in machine.asked.splitlines()[-1], "it runs already"


@pytest.mark.parametrize(
    ("verdict", "good"),
    [
        ("[GNUPG:] BADSIG 2784DBF388D19D46", "no"),
        ("[GNUPG:] VALIDSIG 4855A9E6833216D6A77D8FE451A8E050D0052E5D", "yes"),
        ("", "yes"),
    ],
)
def test_what_its_key_has_not_signed_is_not_installed(machine: Machine, verdict: str, good: str) -> None:
    machine.signed(verdict, good)
    code, said = machine.run()
    assert code == 1 and said == f"AWS's key {session_agent.FINGERPRINT} has not signed the agent's package, " \
        "so it is not installed.\n"  # fmt: skip
    assert "--install" not in machine.asked


def test_what_fails_is_told(machine: Machine, bucket: tuple[int, dict[str, bytes]]) -> None:
    machine.put("systemctl", starts=False)
    assert machine.run() == (1, "AWS's Session Manager agent was installed and does not run.\n")
    bucket[1].clear()
    code, said = machine.run()
    assert code == 1 and "cannot be had: HTTP Error 404" in said
    (machine.folder / "bin/dpkg").write_text("#!/bin/sh\necho broken >&2; exit 2\n")
    assert machine.run() == (1, "dpkg --print-architecture failed (2): broken\n")


def test_debian_s_gpgv_is_installed_where_it_is_not() -> None:
    assert 'if shutil.which("gpgv") is None' in text()


def test_the_key_is_the_one_that_is_named() -> None:
    ring = session_agent.keyring(session_agent.KEY)
    assert fingerprint(ring) == session_agent.FINGERPRINT


def test_cloud_init_takes_it_as_it_is_and_it_fits() -> None:
    import yaml

    there = target().model_copy(update={"connect": "ssm", "forward_port": 20001, "region": "cn-north-1"})
    given = user_data(SECRETS, there)
    [words] = yaml.safe_load(given)["runcmd"]
    assert words == ["python3", "-c", text(), "cn-north-1", "amazonaws.com.cn"]
    # docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html: 16 KB before it is encoded.
    assert len(given.encode()) < 16 * 1024
    assert "runcmd" not in user_data(SECRETS, target()) and json.dumps(words) in given
