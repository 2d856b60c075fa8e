"""The ``docker`` command: what the agent calls and an operator types, with Docker 26's output and exit codes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers.api import CONFIG, Client, DockerError, UnreachableError
from geusemaker.local_cloud.containers.options import UsageError, parse
from geusemaker.local_cloud.containers.template import TemplateError, render
from geusemaker.local_cloud.program import command

CLIENT_VERSION: Final = "26.1.5+dfsg1"
_UNREACHABLE: Final = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
)


def _refused(error: DockerError) -> None:
    _complain(f"Error response from daemon: {error.message}")


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _need(arguments: list[str], least: int, verb: str, most: int | None = None) -> None:
    if len(arguments) < least or (most is not None and len(arguments) > most):
        amount = f"exactly {least}" if least == most else f"at least {least}"
        plural = "" if least == 1 else "s"
        raise UsageError(f"\"docker {verb}\" requires {amount} argument{plural}.\nSee 'docker {verb} --help'.")


def _each(names: list[str], act: Callable[[str], Any]) -> int:
    # As Docker: go through all of them, show those that worked, fail when one did.
    failed = 0
    for name in names:
        try:
            act(name)
        except DockerError as error:
            _refused(error)
            failed = 1
        else:
            print(name)
    return failed


# System


def _version(root: Path, argv: list[str]) -> int:
    options, _ = parse(argv, {"--format": "format=", "-f": "format="}, "docker version")
    client = {"Version": CLIENT_VERSION, "ApiVersion": "1.45", "DefaultAPIVersion": "1.45", "Os": "linux"}
    try:
        server = Client(root).call("version")
    except UnreachableError:
        server = None
    if "format" in options:
        if server is None and ".Server" in options["format"]:
            print()
        else:
            template = "{{json .}}" if options["format"] == "json" else options["format"]
            print(render(template, {"Client": client, "Server": server}))
    else:
        print(f"Client:\n Version:           {client['Version']}\n API version:       {client['ApiVersion']}")
        if server is not None:
            print(f"\nServer:\n Engine:\n  Version:          {server['Version']}")
            print(f"  API version:      {server['ApiVersion']}")
    if server is None:
        _complain(_UNREACHABLE)
        return 1
    return 0


# Images


def _pull(root: Path, argv: list[str]) -> int:
    options, arguments = parse(argv, {"-q": "quiet", "--quiet": "quiet"}, "docker pull")
    _need(arguments, 1, "pull", 1)
    try:
        pulled = Client(root).call("image_pull", name=arguments[0])
    except DockerError as error:
        _complain(error.message) if error.status == 400 else _refused(error)
        return 1
    if not options.get("quiet"):
        shown = pulled["full"] if "@" in pulled["reference"] else pulled["reference"].rpartition(":")[2]
        print(f"{shown}: Pulling from {pulled['path']}")
        for digest, fetched in pulled["layers"].items():
            steps = ("Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete")
            for step in steps if fetched else ("Already exists",):
                print(f"{digest.removeprefix('sha256:')[:12]}: {step}")
        print(f"Digest: {pulled['digest']}")
        what = "Downloaded newer image for" if pulled["new"] else "Image is up to date for"
        print(f"Status: {what} {pulled['reference']}")
    print(pulled["full"])
    return 0


def _image(root: Path, argv: list[str]) -> int:
    commands = {"inspect": _image_inspect, "ls": _images, "rm": _rmi}
    if not argv or argv[0] not in commands:
        raise UsageError(f"docker: 'image {' '.join(argv[:1])}' is not a docker command.\nSee 'docker image --help'.")
    return commands[argv[0]](root, argv[1:])


def _image_inspect(root: Path, argv: list[str]) -> int:
    return _show(root, argv, "docker image inspect", ["image_inspect"], "Error response from daemon: No such image: ")


def _show(root: Path, argv: list[str], verb: str, calls: list[str], refusal: str) -> int:
    """What the first of these calls that knows it says of each name."""
    options, names = parse(argv, {"--format": "format=", "-f": "format="}, verb)
    _need(names, 1, verb.removeprefix("docker "))
    client, found, failed = Client(root), [], 0
    for name in names:
        for call in calls:
            try:
                found.append(client.call(call, name=name))
                break
            except DockerError as error:
                if error.status != 404:
                    raise
        else:
            _complain(f"{refusal}{name}")
            failed = 1
    if options.get("format") in (None, "json"):
        print(json.dumps(found, indent=4))
    else:
        for shown in found:
            print(render(options["format"], shown))
    return failed


def _images(root: Path, argv: list[str]) -> int:
    flags = {
        "--no-trunc": "full",
        "--digests": "digests",
        "--format": "format=",
        "-q": "quiet",
        "--quiet": "quiet",
    }
    options, arguments = parse(argv, flags, "docker image ls")
    rows = []
    for image in Client(root).call("image_list"):
        for row in _image_rows(image, bool(options.get("full")), bool(options.get("digests"))):
            if not arguments or arguments[0] in (row["Repository"], f"{row['Repository']}:{row['Tag']}"):
                rows.append(row)
    if options.get("quiet"):
        for identity in dict.fromkeys(row["ID"] for row in rows):
            print(identity)
    elif "format" in options:
        template = "{{json .}}" if options["format"] == "json" else options["format"]
        for row in rows:
            print(render(template, row))
    else:
        _print_table(rows, {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Size": "SIZE"})
    return 0


def _image_rows(image: dict[str, Any], full: bool, digests: bool) -> list[dict[str, str]]:
    common = {
        "ID": image["Id"] if full else image["Id"].removeprefix("sha256:")[:12],
        "CreatedAt": image["Created"],
        "Size": f"{image['Size']}B",
    }
    tags: dict[str, list[str]] = {}
    for tag in image["RepoTags"]:
        repository, _, name = tag.rpartition(":")
        tags.setdefault(repository, []).append(name)
    of_repository: dict[str, list[str]] = {}
    for reference in image["RepoDigests"]:
        repository, _, digest = reference.partition("@")
        of_repository.setdefault(repository, []).append(digest)
    rows = []
    for repository in dict.fromkeys([*tags, *of_repository]):
        # Docker's rows: every tag with every digest of its repository, "<none>" where there is none.
        shown_digests = of_repository.get(repository, ["<none>"]) if digests else ["<none>"]
        for tag in tags.get(repository, ["<none>"]):
            for digest in shown_digests:
                rows.append({**common, "Repository": repository, "Tag": tag, "Digest": digest})
    return rows or [{**common, "Repository": "<none>", "Tag": "<none>", "Digest": "<none>"}]


def _rmi(root: Path, argv: list[str]) -> int:
    _, arguments = parse(argv, {}, "docker image rm")
    _need(arguments, 1, "image rm")
    client, failed = Client(root), 0
    for name in arguments:
        try:
            for entry in client.call("image_remove", name=name):
                for what, of in entry.items():
                    print(f"{what}: {of}")
        except DockerError as error:
            _refused(error)
            failed = 1
    return failed


# Containers


def _ps(root: Path, argv: list[str]) -> int:
    flags = {
        "-a": "all",
        "--all": "all",
        "-q": "quiet",
        "--quiet": "quiet",
        "--no-trunc": "full",
        "--filter": "filter[]",
        "-f": "filter[]",
        "--format": "format=",
    }
    options, _ = parse(argv, flags, "docker ps")
    labels, name = [], ""
    for entry in options.get("filter", []):
        key, _, value = entry.partition("=")
        if key == "label":
            labels.append(value)
        elif key == "name":
            name = value
        else:
            _complain(f"Error response from daemon: invalid filter '{key}'")
            return 1
    found = Client(root).call("container_list", everything=bool(options.get("all")), labels=labels, name=name)
    rows = [_container_row(shown, bool(options.get("full"))) for shown in found]
    if options.get("quiet"):
        for row in rows:
            print(row["ID"])
    elif "format" in options:
        template = "{{json .}}" if options["format"] == "json" else options["format"]
        for row in rows:
            print(render(template.removeprefix("table "), row))
    else:
        columns = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED"}
        _print_table(rows, {**columns, "Status": "STATUS", "Ports": "PORTS", "Names": "NAMES"})
    return 0


def _print_table(rows: Sequence[Mapping[str, Any]], columns: dict[str, str]) -> None:
    """Rows under headings, in columns as wide as their content (``columns``: key of a row → heading)."""
    lines = [list(columns.values()), *([str(row[key]) for key in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("   ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _container_row(shown: dict[str, Any], full: bool) -> dict[str, str]:
    return {
        "Command": json.dumps(" ".join([shown["Path"], *shown["Args"]])),
        "CreatedAt": shown["Created"],
        "ID": shown["Id"] if full else shown["Id"][:12],
        "Image": shown["Config"]["Image"],
        "Labels": ",".join(f"{key}={value}" for key, value in shown["Config"]["Labels"].items()),
        "Names": shown["Name"].lstrip("/"),
        "Ports": ", ".join(
            f"{binding['HostIp'] or '0.0.0.0'}:{binding['HostPort']}->{port}"
            for port, bindings in shown["NetworkSettings"]["Ports"].items()
            for binding in bindings
        ),
        "RunningFor": _ago(shown["Created"]) + " ago",
        "State": shown["State"]["Status"],
        "Status": _status_text(shown["State"]),
    }


def _status_text(state: dict[str, Any]) -> str:
    """``Up 3 seconds``, ``Exited (1) 2 minutes ago`` …"""
    if state["Restarting"]:
        return f"Restarting ({state['ExitCode']}) {_ago(state['FinishedAt'])} ago"
    if state["Running"]:
        return f"Up {_ago(state['StartedAt'])}"
    if state["Status"] == "created":
        return "Created"
    return f"Exited ({state['ExitCode']}) {_ago(state['FinishedAt'])} ago"


def _ago(moment: str) -> str:
    # github.com/docker/go-units HumanDuration
    from datetime import datetime

    seconds = int(time.time() - datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp())
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = seconds // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = (seconds + 1800) // 3600
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"


def _inspect(root: Path, argv: list[str]) -> int:
    return _show(root, argv, "docker inspect", ["container_inspect", "image_inspect"], "Error: No such object: ")


def _exec(root: Path, argv: list[str]) -> int:
    flags = {
        "-i": "stdin",
        "--interactive": "stdin",
        "-t": "tty",
        "--tty": "tty",
        "-e": "env[]",
        "--env": "env[]",
    }
    options, arguments = parse(argv, flags, "docker exec", interspersed=False)
    _need(arguments, 2, "exec")
    if options.get("tty") and not sys.stdin.isatty():
        _complain("the input device is not a TTY")
        return 1
    try:
        inside = Client(root).call("container_exec", name=arguments[0])
    except DockerError as error:
        _refused(error)
        return 1
    environment = dict(entry.split("=", 1) for entry in inside["environment"])
    for entry in options.get("env", []):
        key, equals, value = entry.partition("=")
        environment[key] = value if equals else os.environ.get(key, "")
    if not options.get("stdin"):
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
    # The program takes this process's place: its output, exit code and signals are the command's own.
    os.execve(sys.executable, command("service", "exec", inside["folder"], *arguments[1:]), environment)


def _start(root: Path, argv: list[str]) -> int:
    _, arguments = parse(argv, {}, "docker start")
    _need(arguments, 1, "start")
    client = Client(root)
    failed = _each(arguments, lambda name: client.call("container_start", name=name))
    if failed:
        _complain(f"Error: failed to start containers: {', '.join(arguments)}")
    return failed


def _stop(root: Path, argv: list[str]) -> int:
    options, arguments = parse(argv, {"-t": "time=", "--time": "time="}, "docker stop")
    _need(arguments, 1, "stop")
    client = Client(root)
    seconds = int(options["time"]) if "time" in options else None
    return _each(arguments, lambda name: client.call("container_stop", name=name, seconds=seconds))


def _restart(root: Path, argv: list[str]) -> int:
    options, arguments = parse(argv, {"-t": "time=", "--time": "time="}, "docker restart")
    _need(arguments, 1, "restart")
    client = Client(root)
    seconds = int(options["time"]) if "time" in options else None

    def act(name: str) -> None:
        client.call("container_stop", name=name, seconds=seconds)
        client.call("container_start", name=name)

    return _each(arguments, act)


def _rm(root: Path, argv: list[str]) -> int:
    options, arguments = parse(argv, {"-f": "force", "--force": "force"}, "docker rm")
    _need(arguments, 1, "rm")
    client = Client(root)
    force = bool(options.get("force"))
    return _each(arguments, lambda name: client.call("container_remove", name=name, force=force))


def _elsewhere(module: str) -> Callable[[Path, list[str]], int]:
    """A command that has a file of its own, which is loaded when it is asked for."""
    return lambda root, argv: int(import_module(f"geusemaker.local_cloud.containers.{module}").main(root, argv))


_COMMANDS: Final[dict[str, Callable[[Path, list[str]], int]]] = {
    "compose": _elsewhere("project"),
    "exec": _exec,
    "image": _image,
    "images": _images,
    "inspect": _inspect,
    "logs": _elsewhere("logs"),
    "network": _elsewhere("network_cli"),
    "ps": _ps,
    "pull": _pull,
    "restart": _restart,
    "rm": _rm,
    "rmi": _rmi,
    "start": _start,
    "stop": _stop,
    "version": _version,
}


def main(argv: list[str]) -> int:
    """Run one command; the exit code is Docker's (125 for a command line it does not understand)."""
    root_text = os.environ.get("GEUSEMAKER_INSTANCE_ROOT", "")
    root = Path(root_text or "/").resolve()
    if not (root / CONFIG).exists():
        _complain(f"docker (local cloud): {root / CONFIG} is not there; is GEUSEMAKER_INSTANCE_ROOT set?")
        return 1
    if argv[:1] in (["--version"], ["-v"]):
        print(f"Docker version {CLIENT_VERSION}, build 411e817")
        return 0
    if not argv or argv[0] not in _COMMANDS:
        _complain(f"docker: '{' '.join(argv[:1])}' is not a docker command.\nSee 'docker --help'")
        return 1
    try:
        return _COMMANDS[argv[0]](root, argv[1:])
    except UsageError as error:
        _complain(str(error))
        return 16 if argv[0] == "compose" else 125 if str(error).startswith("unknown") else 1
    except UnreachableError:
        _complain(_UNREACHABLE)
        return 1
    except DockerError as error:
        _refused(error)
        return 1
    except TemplateError as error:
        _complain(str(error))
        return 64
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
