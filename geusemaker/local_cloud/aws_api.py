"""The AWS API of the local cloud: moto, one call at a time, with AWS's refusals in front and the machines behind."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from geusemaker.local_cloud import files, permissions, state, strictness
from geusemaker.local_cloud.access import AccessKey, belongs_to_owner, check_signature, read_whole_body
from geusemaker.local_cloud.aws_calls import identify, render_refusal
from geusemaker.local_cloud.client import STATUS_PATH
from geusemaker.local_cloud.instances import Fleet
from geusemaker.local_cloud.interruptions import Interruptions
from geusemaker.local_cloud.machines import METADATA
from geusemaker.local_cloud.moto_account import (
    MotoAccount,
    mend_addresses,
    read_instances,
    write_file_systems,
    write_volume_sizes,
)
from geusemaker.local_cloud.paths import OWN_PATHS, CloudPaths
from geusemaker.local_cloud.session_manager import BUCKETS, SESSION, SESSION_ACTIONS, Sessions, answer_download
from geusemaker.local_cloud.spot import check_spot
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError

__all__ = ["AwsApi", "identify", "render_refusal"]

_LOG = logging.getLogger(__name__)
_Environ = dict[str, Any]
_StartResponse = Callable[..., Any]


class AwsApi:
    """The WSGI application. Calls go through moto one after the other, since moto is not made for threads."""

    def __init__(self, paths: CloudPaths, moto: Callable[..., Iterable[bytes]], fleet: Fleet, key: AccessKey) -> None:
        self._paths = paths
        self._key = key
        self._moto = moto
        self._fleet = fleet
        self._lock = threading.Lock()
        self.interruptions = Interruptions(fleet, self._change)
        self.sessions = Sessions(fleet)
        self.describe: Callable[[], dict[str, Any]] = lambda: {"running": True}
        """What the status page shows besides instances and file systems."""

    def bring_back(self) -> None:
        """Start what was running when the local cloud was last stopped or killed."""
        with self._lock:
            write_file_systems(self._paths)
            write_volume_sizes(self._paths)
            changed = self._fleet.update(read_instances())
        self._fleet.settle(changed)

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(OWN_PATHS):
            # Not by the key: `geusemaker local status` has to answer also where the key file was lost.
            peer = (str(environ.get("REMOTE_ADDR", "")), int(environ.get("REMOTE_PORT") or 0))
            if not belongs_to_owner(peer, int(environ["SERVER_PORT"])):
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"This local cloud is another user's.\n"]
            if path.startswith(METADATA):
                return self.interruptions.metadata(environ, start_response)
            if path == STATUS_PATH:
                return self._answer_status(start_response)
            if path.startswith(SESSION):
                return self.sessions.stream(environ, start_response)
            return self.interruptions.answer(environ, read_whole_body(environ), start_response)
        if path.startswith("/moto-api"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"The local cloud keeps its state; moto's own API is closed.\n"]
        if path.startswith(BUCKETS):
            return answer_download(path, start_response)
        body = read_whole_body(environ)
        call = identify(environ, body)
        try:
            check_signature(environ, body, self._key)
            permissions.require(call, body, self._paths.policy)
            permissions.answer_dry_run(call)
            if call.service == "ssm" and call.action in SESSION_ACTIONS:
                with self._lock:
                    return self.sessions.answer(call, body, int(environ["SERVER_PORT"]), start_response)
        except AwsRefusalError as refusal:
            _LOG.warning("%s refused: %s: %s", call.action, refusal.code, refusal.message)
            headers, content = render_refusal(call, refusal)
            start_response(f"{refusal.status} {refusal.code}", headers)
            return [content]
        return self._perform(call, environ, start_response)

    def _perform(self, call: AwsCall, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        fault = self._take_fault(call)
        if fault and fault.get("delay_seconds"):
            _LOG.info("%s is made to wait %s s", call.action, fault["delay_seconds"])
            time.sleep(float(fault["delay_seconds"]))  # asked for by a test: an API that is slow to answer
        changed: list[str] = []
        with self._lock:
            try:
                account = MotoAccount(call.region) if call.service == "ec2" or fault else None
                if fault and fault.get("code") and account:
                    raise strictness.refusal_of(fault, call, account)
                if account:
                    strictness.check(call, account)
                    check_spot(call, account)
            except AwsRefusalError as refusal:
                _LOG.info("%s refused: %s: %s", call.action, refusal.code, refusal.message)
                headers, content = render_refusal(call, refusal)
                start_response(f"{refusal.status} {refusal.code}", headers)
                return [content]
            status, headers, content = self._ask_moto(environ)
            if call.changes and int(status[:3]) < 400:
                changed = self._record_change(call)
        rebooted = call.values("InstanceId") if call.action == "RebootInstances" and status[:3] == "200" else []
        if changed or rebooted:
            self._fleet.settle(changed, rebooted)
        start_response(status, headers)
        return [content]

    def _ask_moto(self, environ: _Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        answer: list[Any] = []

        def capture(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer[:] = [status, headers]

        chunks = self._moto(environ, capture)
        try:
            content = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return answer[0], answer[1], content

    def _record_change(self, call: AwsCall) -> list[str]:
        """Save what a call changed; returns the instances concerned."""
        if call.action in ("StartInstances", "StopInstances", "TerminateInstances", "CancelSpotInstanceRequests"):
            mend_addresses()
        if call.service == "elasticfilesystem":
            write_file_systems(self._paths)
            if call.action == "DeleteFileSystem":
                _remove_folder(self._paths.file_systems, call.parameters["FileSystemId"])
        if call.action == "DeleteVolume":
            _remove_folder(self._paths.volumes, call.parameters["VolumeId"])
        if call.action in ("RunInstances", "AttachVolume", "ModifyVolume"):
            write_volume_sizes(self._paths)
        state.save(self._paths.aws_state, state.snapshot())
        return self._fleet.update(read_instances()) if call.service == "ec2" else []

    def _change(self, act: Callable[[], None]) -> None:
        """Have EC2 do something by itself; returns when the machines have followed."""
        with self._lock:
            act()
            mend_addresses()
            state.save(self._paths.aws_state, state.snapshot())
            changed = self._fleet.update(read_instances())
        self._fleet.settle(changed)

    def _take_fault(self, call: AwsCall) -> Mapping[str, Any] | None:
        """The failure a test asked for; one with ``times`` is counted down in the file."""
        try:
            text = self._paths.faults.read_text()
        except FileNotFoundError:
            return None
        try:
            faults = json.loads(text)
        except ValueError:
            _LOG.warning("%s is not JSON and is ignored", self._paths.faults)
            return None
        with self._lock:
            try:
                fault = strictness.find_fault(faults, call, MotoAccount(call.region))
            except AwsRefusalError:
                return None  # refused in any case
        if fault is not None and "times" in fault:
            fault["times"] -= 1  # type: ignore[index]
            files.write_json(self._paths.faults, faults)
        return fault

    def _answer_status(self, start_response: _StartResponse) -> Iterable[bytes]:
        folders = sorted(self._paths.file_systems.glob("fs-*"))
        document = {
            **self.describe(),
            "instances": [instance.model_dump() for instance in self._fleet.statuses()],
            "file_systems": [{"id": folder.name, "path": str(folder)} for folder in folders],
        }
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]


def _remove_folder(parent: Path, name: str) -> None:
    import shutil

    folder = parent / name
    # The name comes from a request.
    if re.fullmatch(r"(fs|vol)-[0-9a-f]+", name) and folder.is_dir():
        shutil.rmtree(folder)
