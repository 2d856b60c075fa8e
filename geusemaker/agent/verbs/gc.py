"""``gc``: what no kept version needs is removed, and what no service is in any more."""

from __future__ import annotations

import json

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.docker import PROJECT
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.images import Image
from geusemaker.agent.rehearsal import sweep_rehearsal


def gc(agent: Agent, document: Document) -> Json:
    """Remove the images of our services, and the checkpoints, that no kept version needs. Nothing in use is removed."""
    operation = document.operation()
    versions = [int(number) for number in document.items("checkpoints")]
    keep = {Image.parse(str(text)) for text in document.items("keep")}
    kept_names = {image._replace(tag=None) for image in keep if image.digest}
    former = {Image.parse(str(text))._replace(tag=None) for text in document.items("former")}
    repositories = {*map(str, document.items("repositories"))}
    if "former" not in document.values:  # whoever does not tell them has services of the catalogue alone
        repositories |= {image.repository for image in kept_names}
    with agent.registered(operation, "gc"):
        hold_lease(agent, operation, held=False)
        sweep_rehearsal(agent)
        listed = agent.docker("image", "ls", "--no-trunc", "--digests", "--format", "{{json .}}")
        if listed.code != 0:
            raise AgentError("docker_failed", f"The images cannot be listed: {listed.reason()}")
        in_use = _images_in_use(agent)
        removed = []
        for line in listed.out.splitlines():
            entry = json.loads(line)
            digest = entry.get("Digest") or "<none>"
            image = Image.parse(f"{entry['Repository']}@{digest}")
            ours = image.repository in repositories or image in former
            if not ours or digest == "<none>" or image in kept_names or entry["ID"] in in_use:
                continue
            finished = agent.docker("image", "rm", image.by_digest, timeout=120)
            if finished.code == 0:
                removed.append(image.by_digest)
            elif "no such image" not in finished.err.lower():
                agent.reporter.note(f"{image.by_digest} was not removed: {finished.reason()}")
        # A network of a service that went is left by Compose, and there is room for some thirty.
        theirs = f"label=com.docker.compose.project={PROJECT}"
        pruned = agent.docker("network", "prune", "--force", "--filter", theirs, timeout=60)
        if pruned.code != 0:
            agent.reporter.note(f"Networks of services that went were not removed: {pruned.reason()}")
        answer: Json = {"removed": sorted(set(removed))}
        if "checkpoints" in document.values:  # who says nothing of them knows nothing of them
            answer["checkpoints_removed"] = agent.on_efs(lambda: agent.store.collect_checkpoints(versions), 60)
        return answer


def _images_in_use(agent: Agent) -> set[str]:
    """The ids of the images that any container on the machine was made from, ours or not."""
    listed = agent.docker("ps", "-a", "-q", "--no-trunc")
    if listed.code != 0:
        raise AgentError("docker_failed", f"The containers cannot be listed: {listed.reason()}")
    return {str(value.get("Image")) for value in agent.inspect(listed.out.split())}
