"""``manifest``: what each service holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from geusemaker.agent.agent import Agent
from geusemaker.agent.data.listing import listed
from geusemaker.agent.data.n8n import N8N_FILES
from geusemaker.agent.data.ollama import model_name
from geusemaker.agent.data.postgresql import database_manifest
from geusemaker.agent.data.qdrant import QDRANT_PORT
from geusemaker.agent.data.workflows import workflow_manifest
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently
from geusemaker.agent.store import Store
from geusemaker.agent.watches import is_ready


def manifest(agent: Agent, document: Document) -> Json:
    """What each service holds: what must still be there after a change."""
    agent.reporter.hide(agent.secrets())
    file_system_id, volume_id = agent.require_mount(), agent.data_volume_id()
    agent.require_volume(volume_id)
    on_disk = agent.on_efs(lambda: disk_manifest(agent.store, agent.data if volume_id else agent.efs), 60)
    try:
        containers = {name: one for name, one in agent.containers().items() if one.running}
    except AgentError as error:
        agent.reporter.note(error.message)
        containers = {}
    services: Json = {}
    if "postgresql" in containers or on_disk["postgresql"]:
        services["postgresql"] = {
            "version": on_disk["postgresql"],
            **database_manifest(agent, containers.get("postgresql")),
        }
    if "qdrant" in containers or on_disk["qdrant"] is not None:
        keys = ("result", "collections")
        names, source = listed(agent, "qdrant" in containers, QDRANT_PORT, "/collections", keys)
        services["qdrant"] = {"collections": on_disk["qdrant"] if names is None else names, "source": source}
    if "ollama" in containers or on_disk["ollama"] is not None:
        names, source = listed(agent, "ollama" in containers, 11434, "/api/tags", ("models",))
        services["ollama"] = {"models": on_disk["ollama"] if names is None else names, "source": source}
    if "n8n" in containers or on_disk["n8n"]:
        services["n8n"] = {
            # Asked before: what is read then is of a database that n8n has done with.
            "ready": "n8n" in containers and is_ready(agent, "n8n"),
            **workflow_manifest(agent, containers.get("postgresql"), document.items("n8n_tables")),
            "file_folders": on_disk["n8n_files"],
        }
    return {
        "file_system_id": file_system_id,
        "sentinel": on_disk["sentinel"],
        "served": on_disk["served"],
        "owners": on_disk["owners"],
        "services": services,
    }


def disk_manifest(store: Store, qdrant: Path) -> Json:
    """What can be told from the files alone (touches EFS); ``qdrant`` is where Qdrant's folder is."""

    def folder(path: Path) -> list[str] | None:
        return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else None

    models = store.efs / "ollama/models/manifests"
    return {
        "sentinel": store.sentinel(),
        "served": read_leniently(store.served_file),
        "postgresql": store.database_version(),
        "qdrant": folder(qdrant / "qdrant/collections"),
        # manifests/registry.ollama.ai/library/llama3/8b is the model that Ollama calls llama3:8b
        "ollama": sorted(
            model_name(path.relative_to(models).parts) for path in models.glob("*/*/*/*") if path.is_file()
        )
        if models.is_dir()
        else None,
        "n8n": (store.efs / "n8n").is_dir(),
        "owners": folder_owners({"postgresql": store.efs, "n8n": store.efs, "qdrant": qdrant}),
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
