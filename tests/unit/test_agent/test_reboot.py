"""Whether the instance is to boot anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.agent.reboot import boot_id, why_reboot

RUNNING = "6.12.9+deb13-cloud-amd64"


def kernels(root: Path, *releases: str) -> Path:
    (root / "boot").mkdir(exist_ok=True)
    for release in releases:
        (root / "boot" / f"vmlinuz-{release}").touch()
    return root


def test_what_packages_ask_for(tmp_path: Path) -> None:
    assert why_reboot(tmp_path, RUNNING) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required").touch()
    assert why_reboot(tmp_path, RUNNING) == ["an update asks for it"]
    (tmp_path / "run/reboot-required.pkgs").write_text("linux-image-cloud-amd64\nlibc6\n\nlibc6\n")
    assert why_reboot(tmp_path, RUNNING) == ["libc6, linux-image-cloud-amd64 asks for it"]


@pytest.mark.parametrize(
    ("installed", "newest"),
    [
        ((RUNNING,), ""),
        ((RUNNING, "6.12.8+deb13-cloud-amd64"), ""),
        ((RUNNING, "6.12.43+deb13-cloud-amd64"), "6.12.43+deb13-cloud-amd64"),
        ((RUNNING, "6.12.43+deb13-cloud-amd64", "6.13.1+deb13-cloud-amd64"), "6.13.1+deb13-cloud-amd64"),
        (("7.0.1+deb14-amd64",), ""),  # not where the running one is from, as in a container
        ((), ""),
    ],
)
def test_a_kernel_that_is_installed_and_does_not_run(tmp_path: Path, installed: tuple[str, ...], newest: str) -> None:
    found = why_reboot(kernels(tmp_path, *installed), RUNNING)
    assert found == ([f"kernel {newest} is installed, {RUNNING} runs"] if newest else [])


def test_the_kernel_that_runs_is_asked_for(tmp_path: Path) -> None:
    assert why_reboot(kernels(tmp_path, "9999.0-amd64")) == []


def test_a_boot_is_told_from_others_by_what_run_holds(tmp_path: Path) -> None:
    first = boot_id(tmp_path)
    assert len(first) == 16 and boot_id(tmp_path) == first
    (tmp_path / "run/geusemaker/boot").unlink()
    assert boot_id(tmp_path) != first
