"""``docker compose``: the commands of Compose 2.26 over the engine's calls, in Compose's own order of steps."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers import labels
from geusemaker.local_cloud.containers.api import Client, DockerError
from geusemaker.local_cloud.containers.compose import (
    ComposeError,
    Project,
    config_hash,
    create_arguments,
    load,
)
from geusemaker.local_cloud.containers.options import UsageError, parse

COMPOSE_VERSION: Final = "2.26.1-4"

_GLOBAL_FLAGS: Final = {
    "-p": "project=",
    "--project-name": "project=",
    "-f": "file[]",
    "--file": "file[]",
    "--project-directory": "folder=",
    "--progress": "progress=",
    "--ansi": "ansi=",
}


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _event(container: str, what: str) -> None:
    _report(f" Container {container}  {what}")


class _Containers:
    """The project's containers that are there, by service."""

    def __init__(self, client: Client, project: str) -> None:
        self.by_service: dict[str, list[dict[str, Any]]] = {}
        wanted = [f"{labels.PROJECT}={project}", f"{labels.ONE_OFF}=False"]
        for shown in client.call("container_list", everything=True, labels=wanted):
            self.by_service.setdefault(shown["Config"]["Labels"][labels.COMPOSE_SERVICE], []).append(shown)

    def of(self, services: list[str]) -> list[dict[str, Any]]:
        return [shown for name in services for shown in self.by_service.get(name, [])]

    def dependents_first(self, services: list[str] | None = None) -> list[list[dict[str, Any]]]:
        """Containers to be stopped together, in turn: none before those that depend on it."""
        left = {name: found for name, found in self.by_service.items() if services is None or name in services}
        turns = []
        while left:
            needed = {other for found in left.values() for shown in found for other in _depends_on(shown)}
            free = [name for name in left if name not in needed] or list(left)
            turns.append([shown for name in free for shown in left.pop(name)])
        return turns


def _depends_on(shown: dict[str, Any]) -> list[str]:
    text = shown["Config"]["Labels"].get(labels.DEPENDENCIES, "")
    return [entry.partition(":")[0] for entry in text.split(",") if entry]


def _name(shown: dict[str, Any]) -> str:
    return str(shown["Name"]).lstrip("/")


def _together(client: Client, items: list[Any], act: Callable[[Client, Any], None]) -> None:
    # All at once, as Compose does; the first refusal is raised when all have ended.
    if len(items) == 1:
        act(client, items[0])
        return
    refusals: list[Exception] = []

    def run(item: Any) -> None:
        connection = client.another()
        try:
            act(connection, item)
        except Exception as error:  # raised again below, in the caller's thread
            refusals.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refusals:
        raise refusals[0]


def _stop_all(client: Client, turns: list[list[dict[str, Any]]], seconds: int | None, *, remove: bool) -> None:
    def act(connection: Client, shown: dict[str, Any]) -> None:
        _event(_name(shown), "Stopping")
        connection.call("container_stop", name=shown["Id"], seconds=seconds)
        _event(_name(shown), "Stopped")
        if remove:
            _event(_name(shown), "Removing")
            connection.call("container_remove", name=shown["Id"], force=True)
            _event(_name(shown), "Removed")

    for turn in turns:
        if turn:
            _together(client, turn, act)


# up


def _up(root: Path, project: Project, argv: list[str]) -> int:
    flags = {
        "-d": "detach",
        "--detach": "detach",
        "--no-deps": "no_deps",
        "--remove-orphans": "remove_orphans",
        "--pull": "pull=",
        "--quiet-pull": "quiet_pull",
        "--no-recreate": "no_recreate",
        "--force-recreate": "force_recreate",
        "--no-build": "no_build",
        "--no-start": "no_start",
        "-t": "timeout=",
        "--timeout": "timeout=",
    }
    options, names = parse(argv, flags, "docker compose up")
    if not options.get("detach"):
        raise UsageError("the local cloud's docker compose up needs --detach")
    pull = options.get("pull", "policy")
    if pull not in ("always", "missing", "never", "policy"):
        raise UsageError(f"invalid --pull option {pull!r}")
    seconds = int(options["timeout"]) if "timeout" in options else None
    services = project.in_order(names or None, dependencies=not options.get("no_deps"))
    client = Client(root)
    _pull_for_up(client, project, services, pull)
    containers = _Containers(client, project.name)
    orphans = [name for name in containers.by_service if name not in project.services]
    if orphans and options.get("remove_orphans"):
        _stop_all(client, [containers.of(orphans)], seconds, remove=True)
    elif orphans:
        found = " ".join(_name(shown) for shown in containers.of(orphans))
        _report(
            f'level=warning msg="Found orphan containers ([{found}]) for this project. If you removed or renamed this '
            'service in your compose file, you can run this command with the --remove-orphans flag to clean it up."'
        )
    how = "never" if options.get("no_recreate") else "force" if options.get("force_recreate") else "diverged"
    turns = _levels(project, services)
    recreated: set[str] = set()

    def converge(connection: Client, name: str) -> None:
        # Compose 2.26 recreates what depends on a recreated service (convergence.go, setDependentLifecycle).
        dependent = how == "diverged" and not recreated.isdisjoint(project.services[name]["depends_on"])
        if _converge(connection, project, name, containers, "force" if dependent else how, seconds):
            recreated.add(name)

    for turn in turns:
        _together(client, turn, converge)
    if options.get("no_start"):
        return 0
    for turn in turns:
        _together(client, turn, lambda c, name: _start_service(c, project, name))
    return 0


def _levels(project: Project, services: list[str]) -> list[list[str]]:
    """Services that may be handled together, in turn: each after those it depends on."""
    depth: dict[str, int] = {}
    for name in services:  # in order of dependency already
        depth[name] = 1 + max((depth.get(other, -1) for other in project.services[name]["depends_on"]), default=-1)
    return [[name for name in services if depth[name] == level] for level in sorted(set(depth.values()))]


def _pull_for_up(client: Client, project: Project, services: list[str], pull: str) -> None:
    for name in services:
        definition = project.services[name]
        policy = definition["pull_policy"] or "missing" if pull == "policy" else pull
        if policy == "always" or (policy != "never" and _find_image_id(client, definition["image"]) is None):
            _report(f" {name} Pulling ")
            client.call("image_pull", name=definition["image"], platform=definition["platform"])
            _report(f" {name} Pulled ")


def _find_image_id(client: Client, image: str) -> str | None:
    try:
        return str(client.call("image_inspect", name=image)["Id"])
    except DockerError as error:
        if error.status == 404:
            return None
        raise


def _converge(
    client: Client, project: Project, name: str, containers: _Containers, how: str, seconds: int | None
) -> bool:
    """Bring one service's container to its definition, without starting it; whether an existing one was replaced."""
    definition = project.services[name]
    image_id = _find_image_id(client, definition["image"]) or ""
    found = containers.by_service.get(name, [])

    def is_current(shown: dict[str, Any]) -> bool:
        held = shown["Config"]["Labels"]
        return bool(held.get(labels.CONFIG_HASH) == config_hash(definition) and held.get(labels.IMAGE) == image_id)

    # One is kept, a current one by preference; more than one is what an interrupted recreation left.
    found.sort(key=lambda shown: (not is_current(shown), not shown["State"]["Running"]))
    _stop_all(client, [found[1:]], seconds, remove=True)
    wanted = definition["container_name"]
    config, host = create_arguments(project, name, image_id)
    if not found:
        _event(wanted, "Creating")
        client.call("container_create", name=wanted, config=config, host=host)
        _event(wanted, "Created")
        return False
    kept = found[0]
    if how == "never" or (how != "force" and is_current(kept)):
        # One that an interrupted recreation left under its passing name keeps that, as Compose finds them by label.
        if kept["State"]["Status"] == "running":
            _event(_name(kept), "Running")
        return False
    # The new one is made before the old one stops: what cannot be created takes nothing away.
    _event(_name(kept), "Recreate")
    created = client.call("container_create", name=f"{kept['Id'][:12]}_{wanted}", config=config, host=host)
    client.call("container_stop", name=kept["Id"], seconds=seconds)
    client.call("container_remove", name=kept["Id"])
    client.call("container_rename", name=created, new=wanted)
    _event(wanted, "Recreated")
    return True


def _start_service(client: Client, project: Project, name: str) -> None:
    for shown in _Containers(client, project.name).of([name]):
        if not shown["State"]["Running"]:
            _event(_name(shown), "Starting")
            client.call("container_start", name=shown["Id"])
            _event(_name(shown), "Started")


# The others


def _stop(root: Path, project: Project, argv: list[str]) -> int:
    options, names = parse(argv, {"-t": "timeout=", "--timeout": "timeout="}, "docker compose stop")
    client = Client(root)
    # Without a compose file (-p alone) it is all that is there.
    wanted = names or list(project.services) if project.files else names or None
    turns = _Containers(client, project.name).dependents_first(wanted)
    _stop_all(client, turns, int(options["timeout"]) if "timeout" in options else None, remove=False)
    return 0


def _down(root: Path, project: Project, argv: list[str]) -> int:
    flags = {
        "--remove-orphans": "remove_orphans",
        "-t": "timeout=",
        "--timeout": "timeout=",
        "-v": "volumes",
        "--volumes": "volumes",
    }
    options, names = parse(argv, flags, "docker compose down")
    client = Client(root)
    containers = _Containers(client, project.name)
    wanted = names or [n for n in containers.by_service if options.get("remove_orphans") or n in project.services]
    seconds = int(options["timeout"]) if "timeout" in options else None
    _stop_all(client, containers.dependents_first(wanted), seconds, remove=True)
    return 0


def _start(root: Path, project: Project, argv: list[str]) -> int:
    _, names = parse(argv, {}, "docker compose start")
    client = Client(root)
    containers = _Containers(client, project.name)
    for name in project.in_order(names or None, dependencies=False):
        if name not in containers.by_service:
            raise ComposeError(f'service "{name}" has no container to start', 1)
        _start_service(client, project, name)
    return 0


def _restart(root: Path, project: Project, argv: list[str]) -> int:
    options, names = parse(argv, {"-t": "timeout=", "--timeout": "timeout="}, "docker compose restart")
    client = Client(root)
    seconds = int(options["timeout"]) if "timeout" in options else None
    for shown in _Containers(client, project.name).of(project.in_order(names or None, dependencies=False)):
        _event(_name(shown), "Restarting")
        client.call("container_stop", name=shown["Id"], seconds=seconds)
        client.call("container_start", name=shown["Id"])
        _event(_name(shown), "Started")
    return 0


def _pull(root: Path, project: Project, argv: list[str]) -> int:
    flags = {"-q": "quiet", "--quiet": "quiet", "--ignore-pull-failures": "ignore", "--policy": "policy="}
    options, names = parse(argv, flags, "docker compose pull")
    client = Client(root)
    failed = 0
    for name in project.in_order(names or None, dependencies=False):
        definition = project.services[name]
        if not options.get("quiet"):
            _report(f" {name} Pulling ")
        try:
            client.call("image_pull", name=definition["image"], platform=definition["platform"])
        except DockerError as error:
            _report(f" {name} Error ")
            _report(f"Error response from daemon: {error.message}")
            failed = 18
        else:
            if not options.get("quiet"):
                _report(f" {name} Pulled ")
    return 0 if options.get("ignore") else failed


def _ps(root: Path, project: Project, argv: list[str]) -> int:
    from geusemaker.local_cloud.containers.cli import ports_text, print_table, status_text

    flags = {
        "-a": "all",
        "--all": "all",
        "--format": "format=",
        "-q": "quiet",
        "--quiet": "quiet",
        "--services": "services",
        "--no-trunc": "full",
        "--orphans": "orphans",
    }
    options, names = parse(argv, flags, "docker compose ps")
    wanted = [f"{labels.PROJECT}={project.name}"]
    found = Client(root).call("container_list", everything=bool(options.get("all")), labels=wanted)
    rows = []
    for shown in sorted(found, key=_name):
        held, state = shown["Config"]["Labels"], shown["State"]
        if names and held[labels.COMPOSE_SERVICE] not in names:
            continue
        rows.append(
            {
                "Command": json.dumps(" ".join([shown["Path"], *shown["Args"]])),
                "CreatedAt": shown["Created"],
                "ExitCode": state["ExitCode"],
                "Health": "",
                "ID": shown["Id"] if options.get("full") else shown["Id"][:12],
                "Image": shown["Config"]["Image"],
                "Labels": ",".join(f"{key}={value}" for key, value in held.items()),
                "LocalVolumes": "0",
                "Mounts": ",".join(mount["Source"] for mount in shown["Mounts"]),
                "Name": _name(shown),
                "Names": _name(shown),
                "Networks": f"{project.name}_default",
                "Ports": ports_text(shown),
                "Project": project.name,
                "Publishers": [
                    {
                        "URL": binding["HostIp"] or "0.0.0.0",
                        "TargetPort": int(port.partition("/")[0]),
                        "PublishedPort": int(binding["HostPort"]),
                        "Protocol": port.partition("/")[2],
                    }
                    for port, bindings in shown["NetworkSettings"]["Ports"].items()
                    for binding in bindings
                ],
                "Service": held[labels.COMPOSE_SERVICE],
                "Size": "0B",
                "State": state["Status"],
                "Status": status_text(state),
            }
        )
    if options.get("services"):
        print("\n".join(dict.fromkeys(str(row["Service"]) for row in rows)))
    elif options.get("quiet"):
        for row in rows:
            print(row["ID"])
    elif options.get("format") == "json":
        for row in rows:
            print(json.dumps(row, separators=(",", ":")))
    else:
        columns = {"Name": "NAME", "Image": "IMAGE", "Service": "SERVICE", "Status": "STATUS", "Ports": "PORTS"}
        print_table(rows, columns)
    return 0


def _config(root: Path, project: Project, argv: list[str]) -> int:
    flags = {
        "-q": "quiet",
        "--quiet": "quiet",
        "--format": "format=",
        "--services": "services",
        "--images": "images",
        "--hash": "hash=",
    }
    options, _ = parse(argv, flags, "docker compose config")
    if options.get("quiet"):
        return 0
    if options.get("services"):
        print("\n".join(project.services))
    elif options.get("images"):
        print("\n".join(definition["image"] for definition in project.services.values()))
    elif "hash" in options:
        for name, definition in project.services.items():
            if options["hash"] in ("*", name):
                print(f"{name} {config_hash(definition)}")
    elif options.get("format") == "json":
        print(json.dumps({"name": project.name, "services": project.services}, indent=2))
    else:
        raise UsageError("the local cloud's docker compose config needs --quiet or --format json")
    return 0


_COMMANDS: Final[dict[str, Callable[[Path, Project, list[str]], int]]] = {
    "config": _config,
    "down": _down,
    "ps": _ps,
    "pull": _pull,
    "restart": _restart,
    "start": _start,
    "stop": _stop,
    "up": _up,
}


def main(root: Path, argv: list[str]) -> int:
    """Run ``docker compose …``; raises what ``cli.main`` turns into Docker's exit codes."""
    options, arguments = parse(argv, _GLOBAL_FLAGS, "docker compose", interspersed=False)
    if arguments[:1] == ["version"]:
        short = "--short" in arguments
        print(COMPOSE_VERSION if short else f"Docker Compose version {COMPOSE_VERSION}")
        return 0
    if not arguments or arguments[0] not in _COMMANDS:
        raise UsageError(f'unknown docker command: "compose {" ".join(arguments[:1])}"')
    here = Path.cwd()
    files = [here / file for file in options.get("file", [])]
    folder = here / options["folder"] if "folder" in options else None
    if not files:
        for name in ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"):
            if ((folder or here) / name).is_file():
                files = [(folder or here) / name]
                break
    try:
        if files:
            project = load(
                files,
                options.get("project"),
                folder,
                os.environ,
                lambda text: _report(f"level=warning msg={json.dumps(text)}"),
            )
        elif "project" in options and arguments[0] in ("ps", "stop", "down"):
            project = Project(options["project"], here, [], {})
            if arguments[0] == "down":
                arguments.append("--remove-orphans")
        else:
            raise ComposeError("no configuration file provided: not found", 14)
        return _COMMANDS[arguments[0]](root, project, arguments[1:])
    except ComposeError as error:
        _report(str(error))
        return error.exit_code
