"""``prefetch``: images are brought while the old containers serve."""

from __future__ import annotations

import json

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.document import Document, Json
from geusemaker.agent.files import write_atomic
from geusemaker.agent.project import begin_check, by_digest, end_check, services_of
from geusemaker.agent.pulls import pull_images


def prefetch(agent: Agent, document: Document) -> Json:
    """Have Compose check a compose file, and bring its images here, while the old containers go on serving.

    On an instance on which nothing has run yet there is no lease to hold: `apply` takes it. Whoever begins another
    operation ends this one, which is registered, all the same.
    """
    operation, project = document.operation(), document.mapping("compose")
    _, images = services_of(project)
    with agent.registered(operation, "prefetch"):
        if document.values.get("new_instance") is not True:
            hold_lease(agent, operation, held=False)
        agent.ensure_docker()
        checking = begin_check(agent, project)
        answer = pull_images(agent, images, document.number("deadline_seconds", 1800))
        end_check(agent, checking)
        write_atomic(agent.prepared_file, json.dumps({"operation": operation, "images": by_digest(images)}))
        return answer
