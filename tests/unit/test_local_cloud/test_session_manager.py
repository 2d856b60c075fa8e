"""Session Manager of the local cloud: it refuses where AWS's would."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from geusemaker.host import session_agent
from geusemaker.local_cloud import session_manager
from geusemaker.local_cloud.machine import dpkg, gpgv
from geusemaker.local_cloud.processes import start_time
from geusemaker.local_cloud.session_manager import SESSION, Sessions, answer_download
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError

ASKED = {
    "Target": "i-1",
    "DocumentName": "AWS-StartPortForwardingSession",
    "Parameters": {"portNumber": ["2222"], "localPortNumber": ["20001"]},
}


class Answer:
    """What was answered."""

    def __init__(self) -> None:
        self.status = ""

    def __call__(self, status: str, headers: Any) -> None:
        self.status = status[:3]


class Fleet:
    """One instance."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root

    def root_of(self, instance_id: str) -> Path | None:
        return self.root if instance_id == "i-1" else None

    def ssh_of(self, instance_id: str) -> tuple[str, int]:
        return ("127.9.9.9", 2222)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(session_manager, "_may_tell", lambda region, instance_id: True)
    return Fleet(tmp_path)


def agent_runs(root: Path, pid: int) -> None:
    file = root / "run/systemd/amazon-ssm-agent.service.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"pid": pid, "started": start_time(pid)}))


def call(sessions: Sessions, action: str, asked: dict[str, Any]) -> dict[str, Any]:
    [body] = sessions.answer(AwsCall("ssm", action, "us-east-1"), json.dumps(asked).encode(), 4566, Answer())
    found: dict[str, Any] = json.loads(body)
    return found


def stream(sessions: Sessions, begun: dict[str, Any], token: str) -> tuple[str, dict[str, Any]]:
    answer = Answer()
    [body] = sessions.stream({"PATH_INFO": SESSION + begun["SessionId"], "HTTP_X_TOKEN": token}, answer)
    return answer.status, json.loads(body)


def test_a_session_leads_to_the_ssh_server_for_who_has_its_token(fleet: Fleet, tmp_path: Path) -> None:
    sessions = Sessions(fleet)  # type: ignore[arg-type]
    agent_runs(tmp_path, os.getpid())
    begun = call(sessions, "StartSession", ASKED)
    assert begun["StreamUrl"] == f"ws://127.0.0.1:4566{SESSION}{begun['SessionId']}"
    assert stream(sessions, begun, begun["TokenValue"]) == ("200", {"host": "127.9.9.9", "port": 2222})
    assert stream(sessions, begun, "another")[0] == "403"
    agent_runs(tmp_path, os.getppid())  # the instance has booted anew
    assert stream(sessions, begun, begun["TokenValue"])[0] == "410"
    again = call(sessions, "StartSession", ASKED)
    assert call(sessions, "TerminateSession", {"SessionId": again["SessionId"]}) == {"SessionId": again["SessionId"]}
    assert stream(sessions, again, again["TokenValue"])[0] == "410"
    other = call(sessions, "StartSession", {**ASKED, "Parameters": {"portNumber": ["22"], "localPortNumber": ["1"]}})
    assert stream(sessions, other, other["TokenValue"])[0] == "404"


def test_what_aws_does_not_hear_of_is_not_connected(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(fleet)  # type: ignore[arg-type]
    known = {"Filters": [{"Key": "InstanceIds", "Values": ["i-1", "i-2"]}]}

    def refused() -> str:
        with pytest.raises(AwsRefusalError) as error:
            call(sessions, "StartSession", ASKED)
        return error.value.code

    assert refused() == "TargetNotConnected", "there is no agent"
    assert call(sessions, "DescribeInstanceInformation", known) == {"InstanceInformationList": []}
    agent_runs(tmp_path, os.getpid())
    [told] = call(sessions, "DescribeInstanceInformation", known)["InstanceInformationList"]
    assert (told["InstanceId"], told["PingStatus"]) == ("i-1", "Online")
    monkeypatch.setattr(session_manager, "_may_tell", lambda region, instance_id: False)
    assert refused() == "TargetNotConnected", "its role does not let it tell"
    fleet.root = None
    assert refused() == "TargetNotConnected", "it is a container, or gone"
    shell = {**ASKED, "DocumentName": "SSM-SessionManagerRunShell"}
    with pytest.raises(AwsRefusalError, match="forwards ports"):
        call(sessions, "StartSession", shell)


def test_the_package_is_taken_just_with_the_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "/amazon-ssm-us-east-1/latest/debian_amd64/amazon-ssm-agent.deb"
    package, signature, ring = tmp_path / "a.deb", tmp_path / "a.deb.sig", tmp_path / "ring"
    for file, path in ((package, place), (signature, f"{place}.sig")):
        [body] = answer_download(path, Answer())
        file.write_bytes(body)
    assert b"NoSuchKey" in answer_download(f"{place}.asc", Answer())[0]
    ring.write_bytes(session_agent.keyring(session_agent.KEY))
    words = ["--status-fd", "1", "--keyring", str(ring), str(signature), str(package)]
    assert gpgv.main(words) == 0 and f"VALIDSIG {session_agent.FINGERPRINT}" in capsys.readouterr().out
    package.write_bytes(b"another")
    assert gpgv.main(words) == 1 and "BADSIG" in capsys.readouterr().out
    signature.write_text(json.dumps({"signer": "0" * 40, "sha256": hashlib.sha256(b"another").hexdigest()}))
    assert gpgv.main(words) == 2 and "VALIDSIG" not in capsys.readouterr().out
    signature.write_bytes(b"\x88")
    assert gpgv.main(words) == 2
    assert gpgv.fingerprint(b"\x98\x00") == ""
    monkeypatch.setenv("GEUSEMAKER_INSTANCE_ROOT", str(tmp_path))
    assert dpkg.main(["--install", str(package)]) == 1 and dpkg.main(["--remove"]) == 2
