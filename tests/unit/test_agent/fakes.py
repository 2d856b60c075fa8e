"""A small machine for the agent: a folder as its root, and scripted docker, systemctl, apt-get, dpkg-query, blkid,
blockdev, mkfs.ext4, resize2fs, iptables on PATH.

This file is also the program behind those commands. They keep their state below ``ROOT/fake``:

    docker.json   images (reference → id, names), containers, what the registry has, which commands are to fail
    calls.jsonl   every command line, for tests that look at what was done
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

# Each command is a process: what it imports, the tests wait for, many hundred times.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAMS = (
    "docker", "systemctl", "apt-get", "apt-mark", "dpkg", "dpkg-query", "blkid", "blockdev", "mkfs.ext4", "resize2fs",
    "iptables",
)  # fmt: skip
FILE_SYSTEM = "fs-0123456789abcdef0"
VOLUME = "vol-0123456789abcdef0"


def digest(text: str) -> str:
    """The digest under which the fake registry has an image."""
    import hashlib

    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def by_digest(tagged: str) -> str:
    return f"{tagged.rpartition(':')[0]}@{digest(tagged)}"


def pinned(tagged: str) -> str:
    return f"{tagged}@{digest(tagged)}"


class Machine:
    """What a test holds in its hands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "usr/bin"
        self.state_file = root / "fake/docker.json"
        for folder in (self.bin, self.state_file.parent, root / "proc/self", root / "opt/geusemaker"):
            folder.mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "etc/os-release").write_text(
            'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n# a comment\n'
        )
        (root / "proc/self/mountinfo").write_text("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n")
        # Imported, not run as a file, so that Python keeps the compiled form.
        code = "import sys; sys.path.insert(0, sys.argv[1]); import fakes; sys.exit(fakes.main(sys.argv[2:]))"
        here = Path(__file__).parent
        for name in PROGRAMS:
            program = self.bin / name
            words = f'"{sys.executable}" -I -S -c "{code}" "{here}" {name} "{root}"'
            program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            program.chmod(0o755)
        self.state = {"images": {}, "containers": {}, "registry": [], "fail": {}, "hang": {}, "packages": []}

    @property
    def state(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.state_file.read_text())
        return value

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self.state_file.write_text(json.dumps(value))

    @property
    def environment(self) -> dict[str, str]:
        """As an instance of kind ``process`` gives its commands."""
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.root),
            "GEUSEMAKER_INSTANCE_ROOT": str(self.root),
            "GEUSEMAKER_LOOPBACK": "127.0.0.1",
        }

    def update(self, **values: Any) -> None:
        self.state = {**self.state, **values}

    def publish(self, *tagged: str) -> None:
        """Put images into the registry."""
        self.update(registry=sorted({*self.state["registry"], *(by_digest(name) for name in tagged)}))

    def fail(self, command: str, text: str, code: int = 1) -> None:
        """Make commands that begin so fail with this text."""
        self.update(fail={**self.state["fail"], command: [text, code]})

    def container(self, service: str, **values: Any) -> None:
        """Change facts of a container behind the agent's back."""
        state = self.state
        for container in state["containers"].values():
            if container["service"] == service:
                container.update(values)
        self.state = state

    def calls(self, *words: str) -> list[list[str]]:
        """The commands so far that begin with these words."""
        file = self.root / "fake/calls.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [call for call in map(json.loads, lines) if call[: len(words)] == list(words)]

    def mount(self, file_system_id: str = FILE_SYSTEM, efs: Path | None = None) -> None:
        """Mount, without the agent."""
        add_mount(self.root, f"{file_system_id}.efs.us-east-1.amazonaws.com:/")
        (self.root / "mnt/efs").mkdir(parents=True, exist_ok=True)
        if efs is not None:
            (self.root / "mnt/efs").rmdir()
            (self.root / "mnt/efs").symlink_to(efs)

    def unmount(self, point: str = "/mnt/efs") -> None:
        table = self.root / "proc/self/mountinfo"
        table.write_text("".join(line + "\n" for line in table.read_text().splitlines() if f" {point} " not in line))

    def attach(self, volume: str = VOLUME, name: str = "nvme1n1") -> Path:
        """Have a device for a volume; what is on it is in the file."""
        device = self.root / "dev" / name
        device.parent.mkdir(exist_ok=True)
        device.touch()
        link = self.root / "dev/disk/by-id" / f"nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../{name}")
        return device

    def see_volume_sizes(self, *gib: int) -> None:
        """What the machine sees of its volume's size, one a look, the last one from then on."""
        (self.root / "fake/volume-gib").write_text("\n".join(map(str, gib)))


def logged(lines: list[str], options: list[str]) -> list[str]:
    """What ``docker logs`` shows of lines that were written a second apart, each since the year began."""
    stamped = [(f"2026-01-01T00:00:{second:02}.000000000Z", line) for second, line in enumerate(lines)]
    if "--since" in options:
        since = options[options.index("--since") + 1]
        stamped = [each for each in stamped if since.endswith("s") or each[0] >= since]
    if "--tail" in options:
        count = int(options[options.index("--tail") + 1])
        stamped = stamped[len(stamped) - min(count, len(stamped)) :]
    return [f"{stamp} {line}" if "--timestamps" in options else line for stamp, line in stamped]


def add_mount(root: Path, source: str, point: str = "/mnt/efs") -> None:
    if source.startswith("/dev/disk/by-uuid/"):
        uuid = source.rpartition("/")[2]
        [device] = [path for path in (root / "dev").glob("nvme*") if f"UUID={uuid}" in path.read_text()]
        described = f"ext4 /dev/{device.name} rw"
    else:
        described = f"nfs4 {source} rw,vers=4.1,hard"
    with (root / "proc/self/mountinfo").open("a") as file:
        file.write(f"40 22 0:40 / {point} rw,relatime shared:9 - {described}\n")


# ----------------------------------------------------------------------------------------------------- the programs


def play(name: str, root: Path, words: list[str]) -> int:
    """Be the program; returns its exit status."""
    with (root / "fake/calls.jsonl").open("a") as file:
        file.write(json.dumps([name, *words]) + "\n")
    state_file = root / "fake/docker.json"
    state = json.loads(state_file.read_text())
    line = " ".join([name, *words])
    for start, seconds in state["hang"].items():
        if line.startswith(start):
            time.sleep(seconds)
    for start, (text, code) in state["fail"].items():
        if line.startswith(start):
            print(text, file=sys.stderr)
            return int(code)
    programs = {
        "docker": docker,
        "systemctl": systemctl,
        "apt-get": apt_get,
        "apt-mark": apt_mark,
        "dpkg": lambda root, state, words: 0,
        "dpkg-query": dpkg_query,
        "blkid": blkid,
        "mkfs.ext4": make_ext4,
        "blockdev": blockdev,
        "resize2fs": resize2fs,
        "iptables": iptables,
    }
    code = programs[name](root, state, words)
    temporary = state_file.with_name(f"{os.getpid()}.new")
    temporary.write_text(json.dumps(state))
    temporary.replace(state_file)
    return code


def systemctl(root: Path, state: dict[str, Any], words: list[str]) -> int:
    if words[-1].endswith(".mount") and "--now" in words:
        unit = (root / "etc/systemd/system" / words[-1]).read_text()
        what, point = (unit.partition(f"{key}=")[2].splitlines()[0] for key in ("What", "Where"))
        add_mount(root, what, point)
        (root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if "docker.service" in words and words[0] in ("start", "enable"):
        state["docker_up"] = True
    if words[0] == "is-active":
        return 0 if state.get("docker_up") else 3
    return 0


def blkid(root: Path, state: dict[str, Any], words: list[str]) -> int:
    found = (root / words[-1].lstrip("/")).read_text()
    print(found, end="")
    return 0 if found else 2


def blockdev(root: Path, state: dict[str, Any], words: list[str]) -> int:
    size = root / "fake/volume-gib"  # as many GiB as each line says, one a question, the last one from then on
    told, _, later = size.read_text().partition("\n")
    if later:
        size.write_text(later)
    print(int(told) * 2**30)
    return 0


def resize2fs(root: Path, state: dict[str, Any], words: list[str]) -> int:
    return 0


def iptables(root: Path, state: dict[str, Any], words: list[str]) -> int:
    _, verb, chain, *rule = words
    rules = state.setdefault("iptables", {}).setdefault(chain, [])
    if verb == "--check":
        return 0 if rule in rules else 1
    if verb == "--insert":
        rules.insert(0, rule)
    return 0


def make_ext4(root: Path, state: dict[str, Any], words: list[str]) -> int:
    (root / words[-1].lstrip("/")).write_text(f"UUID={words[words.index('-U') + 1]}\nTYPE=ext4\n")
    return 0


def apt_get(root: Path, state: dict[str, Any], words: list[str]) -> int:
    newer: dict[str, list[str]] = state.get("newer", {})
    if "--simulate" in words:
        for name in sorted(set(words) & newer.keys()):
            old, new = newer[name]
            print(f"Inst {name} [{old}] ({new} Debian:13.2/stable [amd64])")
    elif "--only-upgrade" in words:
        state["newer"] = {} if state.get("upgrades", True) else newer
    elif "install" in words:
        state["packages"] += [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]
    return 0


def apt_mark(root: Path, state: dict[str, Any], words: list[str]) -> int:
    state["held"] = words[1:]
    return 0


def dpkg_query(root: Path, state: dict[str, Any], words: list[str]) -> int:
    missing = 0
    for word in words:
        if not word.startswith("-"):
            if word in state["packages"]:
                print(f"{word}\tinstalled")
            else:
                print(f"dpkg-query: no packages found matching {word}", file=sys.stderr)
                missing = 1
    return missing


def docker(root: Path, state: dict[str, Any], words: list[str]) -> int:
    images, containers = state["images"], state["containers"]
    match words:
        case ["version", *_]:
            print("26.1.5")
        case ["pull", reference]:
            if reference not in state["registry"]:
                print(
                    f"Error response from daemon: manifest for {reference} not found: manifest unknown", file=sys.stderr
                )
                return 1
            print("a1b2: Pulling fs layer\na1b2: Pull complete")
            images[reference] = {"Id": digest("image " + reference), "RepoDigests": [reference], "RepoTags": []}
        case ["image", "inspect", *names]:
            known = {**images, **{image["Id"]: image for image in images.values()}}
            return show([known[name] for name in names if name in known], names, known, "No such image")
        case ["inspect", *names]:
            return show(
                [inspected(containers[name]) for name in names if name in containers],
                names,
                containers,
                "No such object",
            )
        case ["image", "ls", *_]:
            for reference, image in images.items():
                repository, _, hexdigest = reference.partition("@")
                print(json.dumps({"Repository": repository, "Tag": "<none>", "Digest": hexdigest, "ID": image["Id"]}))
        case ["image", "rm", reference]:
            del images[reference]
        case ["network", "prune", *_]:
            pass
        case ["rm", "--force", *names]:
            for name in names:
                del containers[name]
        case ["ps", *options]:
            only = [option.partition("compose.project=")[2] for option in options if "compose.project=" in option]
            for name, container in containers.items():
                if container.get("project", "geusemaker") in (only or [container.get("project", "geusemaker")]):
                    print(name)
        case ["exec", name, "node", "-e", _, url, method, _]:
            answers = state.get("node", {}).get(containers[name]["image"], {})
            print(answers.get(f"{method} /{url.split('/', 3)[3]}", "HTTP/1.1 200 -\r\n\r\n{}"))
        case ["logs", *options, name]:
            print("\n".join(logged(containers[name].get("logs", ["a line"]), options)))
        case ["exec", "-i", _, "psql" | "pg_restore", *_, "-d", database]:
            state.setdefault("loaded", {})[database] = sys.stdin.read()
        case ["exec", "-i", _, "pg_restore", "--file=/dev/null"]:
            if "dump complete" not in sys.stdin.read():
                print("pg_restore: error: could not read from input file: end of file", file=sys.stderr)
                return 1
        case ["exec", _, "psql", "--version"]:
            print(f"psql (PostgreSQL) {state.get('psql', '16.10')} (Debian)")
        case ["exec", name, "psql", *_, "-d", database, "-c", statement]:
            return answer_psql(known_rows(state, name), state, database, [statement])
        case ["exec", name, "psql", "-At", "-U", _, "-q", "-c", _, "-d", database, *commands]:
            return answer_psql(known_rows(state, name), state, database, commands[1::2])
        case ["exec", _, "pg_dump", *_, "-d", database, "--format=custom"]:
            print(state.get("dumps", {}).get(database, "CREATE TABLE a ();\n-- PostgreSQL database dump complete\n"))
        case ["exec", _, "nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]:
            if "gpus" not in state:
                print("Failed to initialize NVML: Unknown Error", file=sys.stderr)
                return 255
            print("\n".join(state["gpus"]))
        case ["exec", _, "true"]:
            pass
        case ["exec", _, "sleep", seconds]:
            time.sleep(float(seconds))
        case ["stop", *names]:
            for name in names:
                containers[name].update(status="exited", pid=0)
        case ["restart", *names]:
            for name in names:
                containers[name].update(status="running", pid=2)
        case ["start", *names]:
            for name in names:
                containers[name].update(status="running", pid=1)
        case ["compose", "-p", name, "--project-directory", _, "-f", file, *rest]:
            return compose(state, json.loads(Path(file).read_text()), rest, name)
        case _:
            print(f"docker: {words} is not known here", file=sys.stderr)
            return 125
    return 0


def known_rows(state: Any, container: str) -> Any:
    """Database → the beginning of a statement → its rows, in this container."""
    apart = state["containers"].get(container, {}).get("project") == "geusemaker-rehearsal"
    return state["rehearsal_rows"] if apart else state.get("rows", {})


def answer_psql(known: Any, state: Any, database: str, commands: list[str]) -> int:
    """As psql does with several ``-c``: it goes on after one that fails, and ends as the last one."""
    failed = False
    for command in commands:
        if command.startswith("\\echo "):
            reason = "relation does not exist" if failed else ""
            print(command[6:].replace(":ERROR", str(failed).lower()).replace(":LAST_ERROR_MESSAGE", reason))
            continue
        rows = rows_of(known, state, database, command)
        failed = rows is None
        if rows is None:
            print("ERROR:  relation does not exist", file=sys.stderr)
        elif rows:
            print("\n".join(rows))
    return int(failed)


def rows_of(known: Any, state: Any, database: str, statement: str) -> list[str] | None:
    if database == "postgres" and " DATABASE " in statement:
        change_databases(state["rows"]["postgres"]["SELECT datname"], statement)
        return []
    if database == "postgres" and "NOT d.datallowconn" in statement:
        return list(state.get("closed", []))
    return next((rows for start, rows in known.get(database, {}).items() if statement.startswith(start)), None)


def change_databases(names: list[str], script: str) -> None:
    """CREATE, DROP and ALTER … RENAME, with quoted names."""
    import re

    for statement in script.split("; "):
        verb, (name, *rest) = statement.split()[0], re.findall('"([^"]*)"', statement)
        if verb == "CREATE":
            names.append(name)
        elif verb == "ALTER":
            names[names.index(name)] = rest[0]
        elif name in names:
            names.remove(name)


def show(found: list[Any], names: list[str], known: Any, text: str) -> int:
    print(json.dumps(found))
    for name in names:
        if name not in known:
            print(f"Error: {text}: {name}", file=sys.stderr)
    return 0 if len(found) == len(names) else 1


def inspected(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "Id": container["id"],
        "Name": f"/geusemaker-{container['service']}-1",
        "Image": container["image_id"],
        "Created": container["created"],
        "RestartCount": container.get("restarts", 0),
        "Config": {
            "Image": container["image"],
            "Labels": {"com.docker.compose.service": container["service"], **container.get("labels", {})},
        },
        "State": {
            "Status": container["status"],
            "OOMKilled": container.get("oom", False),
            "ExitCode": container.get("exit_code", 0),
            "Error": container.get("error", ""),
            "Pid": container["pid"],
            "StartedAt": container["started"],
        },
    }


def compose(state: dict[str, Any], project: dict[str, Any], words: list[str], called: str) -> int:
    services, every = project["services"], state["containers"]
    containers = {name: one for name, one in every.items() if one.get("project", "geusemaker") == called}
    if words[0] == "config":
        return 0
    if words[0] == "stop":
        for container in containers.values():
            if container["service"] in services:
                container.update(status="exited", pid=0)
        return 0
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"
    named = [word for word in words if word in services]
    for service, definition in services.items():
        if named and service not in named:
            continue
        old = next((one for one in containers.values() if one["service"] == service), None)
        wanted = json.dumps(definition, sort_keys=True)
        if old and old["definition"] == wanted and old["status"] == "running":
            print(f" Container geusemaker-{service}-1  Running", file=sys.stderr)
            continue
        if definition["image"] not in state["images"]:
            print(f"Error response from daemon: No such image: {definition['image']}", file=sys.stderr)
            return 1
        state["last_pid"] = state.get("last_pid", 1000) + 1
        started = {"status": "running", "pid": state["last_pid"], "started": moment, "restarts": 0}
        if old and old["definition"] == wanted:
            old.update(started)
            continue
        if old:
            print(f" Container geusemaker-{service}-1  Recreate", file=sys.stderr)
            del every[old["id"]]
        print(f" Container geusemaker-{service}-1  Started", file=sys.stderr)
        name = digest(called + service + moment).removeprefix("sha256:")
        every[name] = {
            "id": name,
            "project": called,
            "service": service,
            "image": definition["image"],
            "image_id": state["images"][definition["image"]]["Id"],
            "labels": definition.get("labels", {}),
            "definition": wanted,
            "created": moment,
            **started,
            **state.get("starts", {}).get(definition["image"], {}),
        }
    for name in [name for name, one in containers.items() if one["service"] not in services]:
        del every[name]
    return 0


def main(words: list[str]) -> int:
    return play(words[0], Path(words[1]), words[2:])
