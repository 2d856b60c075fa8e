"""n8n's files."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import digest_of, write_atomic
from geusemaker.agent.store.checkpoints import N8N_LIST

N8N_FILES: Final = ("binaryData", "storage")
"""The folders in n8n's own that hold what its executions received and made (2.x and 3.x; 1.x keeps it in memory)."""
SUMMED_SECONDS: Final = 300.0
"""So long n8n's files are read for their sums: no change is to wait for hundreds of gigabytes that are only linked."""


def copy_n8n_files(agent: Agent, folder: Path) -> Json | None:
    """Copy n8n's files into a checkpoint's folder (runs in the child); None: it never had a folder on EFS.

    As hard links, which take no room: n8n never writes to one of these files again, it makes new ones and removes old
    ones. A file that cannot be linked (EFS allows 177 links) is copied, where there is room for it.
    """
    home = agent.efs / "n8n"
    if not home.is_dir():
        return None
    agent.reporter.service("n8n", "copying files")
    present = [name for name in N8N_FILES if (home / name).is_dir()]
    for name in present:
        link_tree(home / name, folder / "n8n-files" / name)
    enough = time.monotonic() + SUMMED_SECONDS
    listed = {
        str(path.relative_to(folder / "n8n-files")): [
            path.stat().st_size,
            digest_of(path) if time.monotonic() < enough else "",
        ]
        for path in sorted((folder / "n8n-files").rglob("*"))
        if path.is_file()
    }
    write_atomic(folder / N8N_LIST, json.dumps(listed), 0o600)
    return {
        "folders": present,
        "files": len(listed),
        "bytes": sum(size for size, _ in listed.values()),
        "sha256": digest_of(folder / N8N_LIST),
    }


def link_tree(source: Path, target: Path) -> None:
    """The same folders anew, with the same files in them; a file that goes away meanwhile is left out.

    Raises:
        AgentError: no_space
    """
    import shutil

    found = source.lstat()
    target.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid)
    target.chmod(found.st_mode & 0o7777)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                link_tree(source / entry.name, target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                try:
                    os.link(entry.path, target / entry.name)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
                        raise
                    if shutil.disk_usage(target).free < entry.stat().st_size:
                        raise AgentError("no_space", f"There is no room for a copy of {entry.path}.") from error
                    shutil.copy2(entry.path, target / entry.name)
                    if os.geteuid() == 0:
                        os.chown(target / entry.name, entry.stat().st_uid, entry.stat().st_gid)


def n8n_database(agent: Agent) -> str:
    service = (agent.compose_document().get("services") or {}).get("n8n") or {}
    return str((service.get("environment") or {}).get("DB_POSTGRESDB_DATABASE") or "n8n")
