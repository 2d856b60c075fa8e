"""Images of real n8n releases, each made of its npm packages as a committed lock file names them.

Nothing is compiled and no install script runs: what n8n needs on PostgreSQL is in its packages as it is, Node.js too
(``node-linux-…``; n8n 2 needs 24). The packages are one layer, kept in ``~/.cache/geusemaker/test-n8n`` as it is
uploaded, since compressing 700 MB for each push takes longer than everything else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
import urllib.request
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import pytest

_PNPM: Final = "pnpm@10.34.9"
_INSTALL: Final = ("install", "--frozen-lockfile", "--ignore-scripts", "--prod", "--config.node-linker=hoisted")
_RELEASES: Final = Path(__file__).parent / "images/n8n"
_FOLDER: Final = Path.home() / ".cache/geusemaker/test-n8n"
_ENTRYPOINT: Final = _RELEASES / "docker-entrypoint.sh"
_LEFT_OUT: Final = ("*.map", "*.ts", "*.mts", "*.cts", "agent-browser/bin", "chromadb-js-bindings-*", "element-plus")
"""What no server reads (sources, what pages are built of), and 150 MB of programs of nodes not used here."""
_CHUNK: Final = 1 << 20
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

CONFIG: Final[dict[str, Any]] = {
    "User": "node",
    "WorkingDir": "/home/node",
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "NODE_ENV=production"],
    "Entrypoint": ["/docker-entrypoint.sh"],
    "Cmd": None,
    "ExposedPorts": {"5678/tcp": {}},
}
"""As the official image's (docker/images/n8n/Dockerfile of github.com/n8n-io/n8n), without tini."""


def find_or_build(*releases: str) -> dict[str, Path]:
    """Release → the folder of its layer. Skips, loudly, where there is no npm to make one with."""
    folders = {release: _FOLDER / f"{release}-{_recipe(release)}" for release in releases}
    missing = {release: folder for release, folder in folders.items() if not folder.exists()}
    if missing:
        _check_npm(next(iter(missing)))
        _FOLDER.mkdir(parents=True, exist_ok=True)
        # The releases have most packages in common: one store, for as long as they are installed.
        with tempfile.TemporaryDirectory(prefix="new-", dir=_FOLDER) as work:
            for release, folder in missing.items():
                _build(release, Path(work)).replace(folder)
    return folders


def _check_npm(release: str) -> None:
    for tool in ("npm", "tar"):
        if shutil.which(tool) is None:
            pytest.skip(f"REAL N8N IS NOT TESTED on this machine: {tool} is not installed")
    asked = subprocess.run(
        ["npm", "view", f"n8n@{release}", "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if asked.stdout.strip() != release:
        pytest.skip(
            f"REAL N8N IS NOT TESTED on this machine: npm's registry has no n8n {release}: {asked.stderr[:300]}"
        )


def _recipe(release: str) -> str:
    digest = hashlib.sha256(repr((_PNPM, _INSTALL, _LEFT_OUT)).encode())
    for file in (_ENTRYPOINT, *sorted((_RELEASES / release).iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _build(release: str, work: Path) -> Path:
    root = work / release / "root"
    packages = root / "usr/local/lib"
    shutil.copytree(_RELEASES / release, packages)
    done = subprocess.run(
        ["npm", "exec", "--yes", "--", _PNPM, *_INSTALL, f"--store-dir={work / 'store'}", "--reporter=append-only"],
        cwd=packages, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    [node] = packages.glob("node_modules/node-linux-*")
    (root / "usr/local/bin").mkdir()
    (node / "bin/node").replace(root / "usr/local/bin/node")
    shutil.rmtree(node)
    (root / "usr/local/bin/n8n").symlink_to("../lib/node_modules/n8n/bin/n8n")
    shutil.copy(_ENTRYPOINT, root)
    _pack(root, work / release / "layer")
    return work / release / "layer"


def _pack(root: Path, layer: Path) -> None:
    """The folder as a layer: ``layer.tar.gz``, and in ``digests.json`` what it is called compressed and not."""
    layer.mkdir()
    root.chmod(0o755)
    excluded = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    command = ["tar", "--create", "--owner=0", "--group=0", "--numeric-owner", *excluded, f"--directory={root}", "."]
    plain, packed = hashlib.sha256(), hashlib.sha256()
    squeeze = zlib.compressobj(level=1, wbits=31)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as archive, (layer / "layer.tar.gz").open("wb") as file:
        assert archive.stdout is not None
        for chunk in iter(partial(archive.stdout.read, _CHUNK), b""):
            plain.update(chunk)
            _write(file, packed, squeeze.compress(chunk))
        _write(file, packed, squeeze.flush())
    assert archive.returncode == 0
    digests = {"diff_id": f"sha256:{plain.hexdigest()}", "digest": f"sha256:{packed.hexdigest()}"}
    (layer / "digests.json").write_text(json.dumps(digests))


def _write(file: IO[bytes], digest: hashlib._Hash, data: bytes) -> None:
    digest.update(data)
    file.write(data)


def push(registry: str, repository: str, base: str, tag: str, layer: Path) -> None:
    """An image of what the tag ``base`` of the repository is made of, and the layer upon it.

    Args:
        registry: host:port, spoken to by the distribution API v2 (distribution.github.io/distribution/spec/api).
    """
    url = f"http://{registry}/v2/{repository}"
    manifest = json.loads(_get(f"{url}/manifests/{base}"))
    config = json.loads(_get(f"{url}/blobs/{manifest['config']['digest']}"))
    digests = json.loads((layer / "digests.json").read_text())
    archive = layer / "layer.tar.gz"
    with archive.open("rb") as file:
        _put_blob(url, digests["digest"], file, archive.stat().st_size)
    manifest["layers"].append({"mediaType": _LAYER, "size": archive.stat().st_size, "digest": digests["digest"]})
    config["rootfs"]["diff_ids"].append(digests["diff_id"])
    config["config"] = CONFIG
    config["history"] = []
    data = json.dumps(config).encode()
    manifest["config"] |= {"size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"}
    _put_blob(url, manifest["config"]["digest"], data, len(data))
    _send("PUT", f"{url}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": _MANIFEST}).close()


def _put_blob(url: str, digest: str, data: bytes | IO[bytes], size: int) -> None:
    with _send("POST", f"{url}/blobs/uploads/", b"", {}) as answer:
        location = answer.headers["Location"]
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    _send("PUT", f"{location}&digest={digest}", data, headers).close()


def _get(url: str) -> bytes:
    with _send("GET", url, None, {"Accept": _MANIFEST}) as answer:
        return bytes(answer.read())


def _send(method: str, url: str, data: bytes | IO[bytes] | None, headers: dict[str, str]) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=120)
