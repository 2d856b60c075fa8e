"""How old the instance's image is, and whether what was patched waits for a boot. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from geusemaker.models.inspection import InstanceState, Patching


def patching(
    instance: InstanceState | None, image_date: str, reboot: Sequence[str] | None, now: datetime
) -> Patching | None:
    """What is told of it; None without an instance."""
    if instance is None:
        return None
    return Patching(
        image=instance.image_id,
        image_date=image_date,
        image_age_days=(now.date() - date.fromisoformat(image_date)).days if image_date else None,
        reboot=None if reboot is None else list(reboot),
    )


def reboot_note(name: str, reboot: Sequence[str] | None) -> str:
    """That a boot is due, and the command for it; empty where it is not."""
    if not reboot:
        return ""
    return f"The instance waits for a reboot ({'; '.join(reboot)}): `geusemaker recover {name} --reboot` makes it."
