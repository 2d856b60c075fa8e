from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker import image


def test_another_recipe_is_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = image.image_name()
    assert name == image.image_name()
    copied = tmp_path / "guest"
    shutil.copytree(image._GUEST, copied)
    monkeypatch.setattr(image, "_GUEST", copied)
    assert image.image_name() == name
    (copied / "boot.sh").write_text("exec /sbin/init\n")
    assert image.image_name() != name
