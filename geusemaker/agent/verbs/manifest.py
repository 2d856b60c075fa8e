"""``manifest``: what each service holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.data import ollama, own, postgresql, qdrant
from geusemaker.agent.data.n8n import N8N_FILES
from geusemaker.agent.data.workflows import mentions, workflow_manifest
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently
from geusemaker.agent.store import Store
from geusemaker.agent.watches import is_ready

_MANIFESTS: Final = {"postgresql": postgresql.manifest, "qdrant": qdrant.manifest, "ollama": ollama.manifest}
"""Service → what it holds, or None; n8n's lies in PostgreSQL."""


def manifest(agent: Agent, document: Document) -> Json:
    """What each service holds: what must still be there after a change."""
    agent.reporter.hide(agent.secrets())
    file_system_id, volume_id = agent.require_mount(), agent.data_volume_id()
    agent.require_volume(volume_id)
    places = {"efs": agent.efs} | ({"volume": agent.data} if volume_id else {})
    on_disk = agent.on_efs(lambda: disk_manifest(agent.store, places), 60)
    try:
        running = {name: one for name, one in agent.containers().items() if one.running}
    except AgentError as error:
        agent.reporter.note(error.message)
        running = {}
    services: Json = on_disk["own"] | {name: tell(agent, running, on_disk) for name, tell in _MANIFESTS.items()}
    if "n8n" in running or on_disk["n8n"]:
        services["n8n"] = {
            # Asked before: what is read then is of a database that n8n has done with.
            "ready": "n8n" in running and is_ready(agent, "n8n"),
            **workflow_manifest(agent, running.get("postgresql"), document.items("n8n_tables")),
            **mentions(agent, running.get("postgresql"), document.optional_text("n8n_mentions")),
            "file_folders": on_disk["n8n_files"],
        }
    return {
        "file_system_id": file_system_id,
        "sentinel": on_disk["sentinel"],
        "served": on_disk["served"],
        "owners": on_disk["owners"],
        "data_return": on_disk["data_return"],
        "services": {name: held for name, held in services.items() if held is not None},
    }


def disk_manifest(store: Store, places: Mapping[str, Path]) -> Json:
    """What can be told from the files alone (touches EFS); ``places``: ``efs``, and ``volume`` where there is one."""
    collections = places.get("volume", store.efs)
    return {
        "own": own.on_disk(places),
        "sentinel": store.sentinel(),
        "served": read_leniently(store.served_file),
        "data_return": store.unsettled_return(),
        "postgresql": store.database_version(),
        "qdrant": qdrant.on_disk(collections),
        "ollama": ollama.on_disk(places.values()),
        "n8n": (store.efs / "n8n").is_dir(),
        "owners": folder_owners({"postgresql": store.efs, "n8n": store.efs, "qdrant": collections}),
        "n8n_files": [name for name in N8N_FILES if (store.efs / "n8n" / name).is_dir()],
    }


def folder_owners(places: Mapping[str, Path]) -> Json:
    """Service → the user that its folder with data belongs to. Without root all is of one user, which says nothing."""
    if os.geteuid() != 0:
        return {}
    folders = {name: place / name for name, place in places.items()}
    return {
        name: {"uid": folder.stat().st_uid, "path": str(folder)}
        for name, folder in folders.items()
        if folder.is_dir() and any(folder.iterdir())
    }
