"""``docker compose``: what the agent calls of Compose 2.26, over the engine's calls, in Compose's own order."""

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
    Project,
    config_hash,
    create_arguments,
    load,
    network_labels,
    networks_of,
)
from geusemaker.local_cloud.containers.interpolation import ComposeError
from geusemaker.local_cloud.containers.options import UsageError, parse

COMPOSE_VERSION: Final = "2.26.1-4"

_GLOBAL_FLAGS: Final = {
    "-p": "project=",
    "--project-name": "project=",
    "-f": "file=",
    "--file": "file=",
    "--project-directory": "folder=",
}


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _warn(text: str) -> None:
    _report(f"level=warning msg={json.dumps(text)}")


def _event(container: str, what: str) -> None:
    _report(f" Container {container}  {what}")


def _containers(client: Client, project: str) -> dict[str, list[dict[str, Any]]]:
    """The project's containers that are there, by service."""
    found: dict[str, list[dict[str, Any]]] = {}
    wanted = [f"{labels.PROJECT}={project}", f"{labels.ONE_OFF}=False"]
    for shown in client.call("container_list", everything=True, labels=wanted):
        found.setdefault(shown["Config"]["Labels"][labels.COMPOSE_SERVICE], []).append(shown)
    return found


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


def _remove_all(client: Client, containers: list[dict[str, Any]]) -> None:
    def act(connection: Client, shown: dict[str, Any]) -> None:
        _event(_name(shown), "Stopping")
        connection.call("container_stop", name=shown["Id"])
        _event(_name(shown), "Stopped")
        _event(_name(shown), "Removing")
        connection.call("container_remove", name=shown["Id"], force=True)
        _event(_name(shown), "Removed")

    _together(client, containers, act)


def _up(root: Path, project: Project, argv: list[str]) -> int:
    flags = {
        "-d": "detach",
        "--detach": "detach",
        "--remove-orphans": "remove_orphans",
        "--pull": "pull=",
        "--quiet-pull": "quiet_pull",
    }
    options, names = parse(argv, flags, "docker compose up")
    if not options.get("detach"):
        raise UsageError("the local cloud's docker compose up needs --detach")
    if options.get("pull", "missing") not in ("missing", "never"):
        raise UsageError(f"invalid --pull option {options['pull']!r}")
    for name in names:
        if name not in project.services:
            raise ComposeError(f"no such service: {name}", 1)
    services = names or list(project.services)
    client = Client(root)
    if options.get("pull") != "never":
        _pull_missing(client, project, services)
    _make_networks(client, project, services)
    containers = _containers(client, project.name)
    orphans = [shown for name, found in containers.items() if name not in project.services for shown in found]
    if orphans and options.get("remove_orphans"):
        _remove_all(client, orphans)
    elif orphans:
        _warn(
            f"Found orphan containers ([{' '.join(map(_name, orphans))}]) for this project. If you removed or renamed "
            "this service in your compose file, you can run this command with the --remove-orphans flag to clean it up."
        )
    _together(client, services, lambda connection, name: _converge(connection, project, name, containers.get(name, [])))
    _together(client, services, lambda connection, name: _start_service(connection, project, name))
    return 0


def _make_networks(client: Client, project: Project, services: list[str]) -> None:
    there = {network["Name"] for network in client.call("network_list")}
    for network in sorted({one for name in services for one in networks_of(project, name)} - there):
        _report(f" Network {network}  Creating")
        client.call(
            "network_create",
            name=network,
            labels=network_labels(project, network),
            internal=network in project.internal,
        )
        _report(f" Network {network}  Created")


def _pull_missing(client: Client, project: Project, services: list[str]) -> None:
    for name in services:
        image = project.services[name]["image"]
        if _find_image_id(client, image) is None:
            _report(f" {name} Pulling ")
            client.call("image_pull", name=image)
            _report(f" {name} Pulled ")


def _find_image_id(client: Client, image: str) -> str | None:
    try:
        return str(client.call("image_inspect", name=image)["Id"])
    except DockerError as error:
        if error.status == 404:
            return None
        raise


def _converge(client: Client, project: Project, name: str, found: list[dict[str, Any]]) -> None:
    """Bring one service's containers to its definition, without starting them."""
    definition = project.services[name]
    image_id = _find_image_id(client, definition["image"]) or ""

    def is_current(shown: dict[str, Any]) -> bool:
        held = shown["Config"]["Labels"]
        return bool(held.get(labels.CONFIG_HASH) == config_hash(definition) and held.get(labels.IMAGE) == image_id)

    # One is kept, a current one by preference; more than one is what an interrupted recreation left.
    found.sort(key=lambda shown: (not is_current(shown), not shown["State"]["Running"]))
    _remove_all(client, found[1:])
    wanted = definition["container_name"]
    config, host = create_arguments(project, name, image_id)
    networks = networks_of(project, name)
    if not found:
        _event(wanted, "Creating")
        client.call("container_create", name=wanted, config=config, host=host, networks=networks)
        _event(wanted, "Created")
        return
    kept = found[0]
    if is_current(kept):
        # One that an interrupted recreation left under its passing name keeps that, as Compose finds them by label.
        if kept["State"]["Status"] == "running":
            _event(_name(kept), "Running")
        return
    # The new one is made before the old one stops: what cannot be created takes nothing away.
    _event(_name(kept), "Recreate")
    passing = f"{kept['Id'][:12]}_{wanted}"
    created = client.call("container_create", name=passing, config=config, host=host, networks=networks)
    client.call("container_stop", name=kept["Id"])
    client.call("container_remove", name=kept["Id"])
    client.call("container_rename", name=created, new=wanted)
    _event(wanted, "Recreated")


def _start_service(client: Client, project: Project, name: str) -> None:
    for shown in _containers(client, project.name).get(name, []):
        if not shown["State"]["Running"]:
            _event(_name(shown), "Starting")
            client.call("container_start", name=shown["Id"])
            _event(_name(shown), "Started")


def _config(root: Path, project: Project, argv: list[str]) -> int:
    options, _ = parse(argv, {"-q": "quiet", "--quiet": "quiet"}, "docker compose config")
    if not options.get("quiet"):
        raise UsageError("the local cloud's docker compose config needs --quiet")
    return 0


_COMMANDS: Final[dict[str, Callable[[Path, Project, list[str]], int]]] = {"config": _config, "up": _up}


def main(root: Path, argv: list[str]) -> int:
    """Run ``docker compose …``; raises what ``cli.main`` turns into Docker's exit codes."""
    options, arguments = parse(argv, _GLOBAL_FLAGS, "docker compose", interspersed=False)
    if arguments[:1] == ["version"]:
        print(COMPOSE_VERSION if "--short" in arguments else f"Docker Compose version {COMPOSE_VERSION}")
        return 0
    if not arguments or arguments[0] not in _COMMANDS:
        raise UsageError(f'unknown docker command: "compose {" ".join(arguments[:1])}"')
    here = Path.cwd()
    folder = here / options["folder"] if "folder" in options else None
    try:
        if "file" not in options:
            raise ComposeError("no configuration file provided: not found", 14)
        project = load(here / options["file"], options.get("project"), folder, os.environ, _warn)
        return _COMMANDS[arguments[0]](root, project, arguments[1:])
    except ComposeError as error:
        _report(str(error))
        return error.exit_code
