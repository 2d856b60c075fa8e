"""A container's record: what ``inspect`` shows of it, as it is when it is made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers.api import DockerError

NEVER: Final = "0001-01-01T00:00:00Z"

CAPABILITIES: Final = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
"""Those that Docker gives to a container (oci/caps/defaults.go of moby); the stand-in knows no others."""


def now() -> str:
    """The time as Docker writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def capabilities(host: dict[str, Any]) -> list[str]:
    """What a container may do as root, by its HostConfig."""
    left = frozenset() if "ALL" in (host.get("CapDrop") or ()) else CAPABILITIES - {*(host.get("CapDrop") or ())}
    return sorted(left | {*(host.get("CapAdd") or ())})


def new_record(
    container_id: str,
    name: str,
    folder: Path,
    image: dict[str, Any],
    config: dict[str, Any],
    host: dict[str, Any],
    networks: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """The record of a container that is being made.

    Args:
        image: its image's own record.
        config: Image, Env, Labels, StopTimeout, and Cmd where it is another than the image's.
        host: RestartPolicy, Binds, PortBindings, Memory, ShmSize, and DeviceRequests and what is taken from it where
            there are such.
        networks: network → what it is called there.

    Raises:
        DockerError: a capability is none (400).
    """
    for what in ("CapAdd", "CapDrop"):
        for unknown in sorted({*host.get(what, ())} - CAPABILITIES - {"ALL"}):
            raise DockerError(f'invalid {what}: unknown capability: "CAP_{unknown}"', 400)
    of_image, ports = image["Config"], host["PortBindings"]
    environment = dict(entry.split("=", 1) for entry in of_image.get("Env", []))
    environment.update(entry.split("=", 1) for entry in config["Env"])
    started_with = of_image.get("Cmd") if config.get("Cmd") is None else config["Cmd"]
    words = [*of_image.get("Entrypoint", []), *(started_with or [])]
    return {
        "Id": container_id,
        "Created": now(),
        "Path": words[0],
        "Args": words[1:],
        "State": {
            "Status": "created",
            "Running": False,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "Dead": False,
            "Pid": 0,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": NEVER,
            "FinishedAt": NEVER,
        },
        "Image": image["Id"],
        "LogPath": str(folder / f"{container_id}-json.log"),
        "Name": f"/{name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {
            "Binds": host["Binds"],
            "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": next(iter(networks), "default"),
            "PortBindings": ports,
            "RestartPolicy": {"Name": host["RestartPolicy"], "MaximumRetryCount": 0},
            "Memory": host["Memory"],
            "ShmSize": host["ShmSize"],
            "DeviceRequests": host.get("DeviceRequests", []),
            "CapAdd": host.get("CapAdd"),
            "CapDrop": host.get("CapDrop"),
            "SecurityOpt": host.get("SecurityOpt"),
            "ReadonlyRootfs": bool(host.get("ReadonlyRootfs")),
            "Tmpfs": host.get("Tmpfs") or {},
            "PidsLimit": host.get("PidsLimit"),
        },
        "Mounts": [_mount(bind) for bind in host["Binds"]],
        "Config": {
            "Hostname": container_id[:12],
            "User": of_image.get("User", ""),
            "ExposedPorts": {**of_image.get("ExposedPorts", {}), **{port: {} for port in ports}},
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "Cmd": started_with,
            "Image": config["Image"],
            "WorkingDir": of_image.get("WorkingDir", ""),
            "Entrypoint": of_image.get("Entrypoint"),
            "Labels": {**of_image.get("Labels", {}), **config["Labels"]},
            "StopSignal": of_image.get("StopSignal", "SIGTERM"),
            "StopTimeout": config["StopTimeout"],
        },
        "NetworkSettings": {"Ports": {}, "Networks": networks},
    }


def _mount(bind: str) -> dict[str, Any]:
    source, destination, mode = bind.split(":")
    # With a source that is missing Docker makes a directory, mounted file system or not.
    if not Path(source).exists():
        Path(source).mkdir(parents=True)
    return {
        "Type": "bind",
        "Source": source,
        "Destination": destination,
        "Mode": mode,
        "RW": mode != "ro",
        "Propagation": "rprivate",
    }
