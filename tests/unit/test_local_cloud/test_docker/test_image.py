from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker import image


def test_another_recipe_is_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = image.image_name()
    assert name == image.image_name()
    copied = [Path(shutil.copy(file, tmp_path)) for file in image._GUEST_FILES]
    monkeypatch.setattr(image, "_GUEST_FILES", copied)
    assert image.image_name() == name
    copied[-1].write_text("raise SystemExit\n")
    assert image.image_name() != name
