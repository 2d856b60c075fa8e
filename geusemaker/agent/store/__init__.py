"""What the agent keeps on the file system beside the data: sentinel, lease, journal, notes, checkpoints, backups.

It works on any folder, and touches nothing else.
"""

from __future__ import annotations

from geusemaker.agent.store.backups import Backups
from geusemaker.agent.store.journal import Journal
from geusemaker.agent.store.lease import Lease
from geusemaker.agent.store.notes import Notes


class Store(Lease, Journal, Backups, Notes):
    """The agent's own folder on the file system. Its methods touch EFS: call them through ``Agent.on_efs`` only."""
