"""Small real images, made of Debian's packages, in the registry of a local cloud whose instances are containers."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker.command import Docker
from geusemaker.local_cloud.docker.image import RELEASE, ensure_debian
from tests.end_to_end import real_n8n
from tests.local_cloud import real_caddy

_SCRIPTS = Path(__file__).parent / "images"
_CRAWL4AI = _SCRIPTS / "crawl4ai.sh"
_TAKE_MEMORY = "dd if=/dev/zero of=/dev/null bs=4G count=1"

_POSTGRES = """
set -eu
useradd --system --uid 999 --home-dir /var/lib/postgresql --shell /bin/sh postgres
apt-get -q update
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install postgresql-$1
# Compiled queries, half of what would be pushed and pulled, are not what is tested.
rm -rf /usr/lib/*/libLLVM* /usr/lib/llvm* /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit*
rm -rf /usr/share/doc /usr/share/locale /usr/share/man /var/lib/apt/lists/*
apt-get clean
"""


_DEBIANS = {15: "bookworm", 17: RELEASE}
"""PostgreSQL's major version → the Debian that has it. Both sort text by glibc."""

_BUSYBOX = """
set -eu
apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -qy install busybox-static
"""

_LIBSTDCXX = """
set -eu
apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install libstdc++6 ca-certificates
rm -rf /var/lib/apt/lists/*
"""
_NODE = "useradd --uid 1000 --create-home --shell /bin/sh node\n" + _LIBSTDCXX
_REDIS = """
set -eu
useradd --system --uid 999 --home-dir /data --create-home --shell /bin/sh redis
apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install redis-server
rm -rf /usr/share/doc /usr/share/locale /usr/share/man /var/lib/apt/lists/*
"""
_OLLAMA = "github.com/ollama/ollama@v0.6.5"


class RealImages:
    """Makes images and pushes them to ``registry`` (host:port)."""

    def __init__(self, docker: Docker, registry: str) -> None:
        self._docker = docker
        self._registry = registry

    def push_postgres(self, *tags: str, major: int = 17) -> None:
        """A real PostgreSQL of the major version under each tag; the images differ in a label."""
        source = self._installed(f"geusemaker/test-postgres:{major}-small", _DEBIANS[major], _POSTGRES, str(major))
        for tag in tags:
            name = f"{self._registry}/library/postgres:{tag}"
            self._commit(
                source,
                name,
                {"/usr/local/bin/docker-entrypoint.sh": (_SCRIPTS / "postgres.sh").read_bytes()},
                f"ENV PATH=/usr/lib/postgresql/{major}/bin:/usr/local/bin:/usr/bin:/bin",
                "ENV PGDATA=/var/lib/postgresql/data",
                f"LABEL version={tag}",
                'ENTRYPOINT ["docker-entrypoint.sh"]',
                'CMD ["postgres", "-c", "listen_addresses=*"]',
            )
            self._push(name)

    def push_redis(self, *tags: str) -> None:
        """A real Redis, as Debian has it, under each tag; it runs as the user that the official image's does.

        And as that it lets other containers in without a password: github.com/redis/docker-library-redis builds it
        with protected mode off.
        """
        program = b'#!/bin/sh\nexec /usr/bin/redis-server "$@" --protected-mode no\n'
        source = self._installed("geusemaker/test-redis:1", RELEASE, _REDIS)
        for tag in tags:
            name = f"{self._registry}/library/redis:{tag}"
            files = {"/usr/local/bin/redis-server": program}
            changes = ("USER 999", "WORKDIR /data", f"LABEL version={tag}", 'CMD ["redis-server"]')
            self._commit(source, name, files, *changes)
            self._push(name)

    def push_crawl4ai(
        self, *tags: str, says: str = "", script: bytes = b"", entrypoint: Sequence[str] = ("/bin/sh", "/serve.sh")
    ) -> None:
        """A web server (busybox) that answers Crawl4AI's health API with its tag, or with what it ``says``."""
        for tag in tags:
            answers = {"health": {"status": "ok", "version": says or tag}}
            self._push_web(f"unclecode/crawl4ai:{tag}", answers, script or _CRAWL4AI.read_bytes(), entrypoint)

    def push_caddy(self, tag: str) -> None:
        """The real Caddy, with a shell. Skips where it can neither be found nor built."""
        program = real_caddy.find_or_build()
        name = f"{self._registry}/library/caddy:{tag}"
        root = self._busybox({"bin/caddy": program.read_bytes(), "tmp/.keep": b""})
        self._docker.run("import", "--change", "ENV PATH=/bin", "-", name, stdin=root)
        self._push(name)

    def push_n8n(self, *releases: str) -> None:
        """Real n8n releases. Skips where they can neither be found nor made."""
        layers = real_n8n.find_or_build(*releases)
        base = f"{self._registry}/n8nio/n8n:base"
        self._docker.run("tag", self._installed("geusemaker/test-node:1", RELEASE, _NODE), base)
        self._push(base)
        for release, layer in layers.items():
            real_n8n.push(self._registry, "n8nio/n8n", "base", release, layer)

    def push_ollama(self, tag: str) -> None:
        """A web server (busybox) that answers Ollama's version API, and has no models."""
        answers: dict[str, object] = {"api/version": {"version": tag}, "api/tags": {"models": []}}
        self._push_web(f"ollama/ollama:{tag}", answers, _CRAWL4AI.read_bytes().replace(b"11235", b"11434"))

    def push_open_webui(self, tag: str) -> None:
        """What keeps data, answers and asks Ollama as Open WebUI does, which cannot be made here (busybox)."""
        root = self._busybox({"serve.sh": (_SCRIPTS / "open-webui.sh").read_bytes(), "tmp/.keep": b""})
        name = f"{self._registry}/openwebui/open-webui:{tag}"
        changes = ("--change", 'ENTRYPOINT ["/bin/sh", "/serve.sh"]', "--change", "ENV PATH=/bin")
        self._docker.run("import", *changes, "-", name, stdin=root)
        self._push(name)

    def push_real_ollama(self, *tags: str) -> None:
        """The real Ollama, built from its Go module, and told that each tag is its version. Skips without Go and C++.

        Its inference needs more than what is built here, a server that keeps and tells of models.
        """
        for tool in ("go", "g++"):
            if shutil.which(tool) is None:
                pytest.skip(f"OLLAMA IS NOT TESTED on this machine: {tool} is not installed")
        source = self._installed("geusemaker/test-libstdcxx:1", RELEASE, _LIBSTDCXX)
        folder = Path.home() / ".cache/geusemaker/test-ollama"
        for tag in tags:
            program = folder / tag / "ollama"
            if not program.exists():
                # Whatever the tag, it is the same module: what differs is the version that it tells.
                environment = {**os.environ, "GOBIN": str(folder / f"{tag}.new"), "CGO_ENABLED": "1"}
                version = f"-s -w -X=github.com/ollama/ollama/version.Version={tag}"
                subprocess.run(
                    ["go", "install", "-trimpath", "-ldflags", version, _OLLAMA], env=environment, check=True
                )
                (folder / f"{tag}.new").replace(folder / tag)
            name = f"{self._registry}/ollama/ollama:{tag}"
            changes = ("ENV OLLAMA_HOST=0.0.0.0:11434", 'ENTRYPOINT ["/bin/ollama"]', 'CMD ["serve"]')
            self._commit(source, name, {"/bin/ollama": program.read_bytes()}, *changes)
            self._push(name)

    def push_broken_crawl4ai(self, tag: str) -> None:
        """One that ends as soon as it is started."""
        self.push_crawl4ai(tag, script=b"echo no such module; exit 3")

    def push_silent_crawl4ai(self, tag: str) -> None:
        """One that runs and never answers."""
        self.push_crawl4ai(tag, script=b"trap 'exit 0' TERM\nbusybox sleep 86400 &\nwait\n")

    def push_unstartable_crawl4ai(self, tag: str) -> None:
        """One whose container cannot be started at all."""
        self.push_crawl4ai(tag, entrypoint=["/no/such/program"])

    def push_hungry_crawl4ai(self, tag: str) -> None:
        """One that takes 4 GiB of memory as soon as it is started."""
        self.push_crawl4ai(tag, script=f"exec {_TAKE_MEMORY}".encode())

    def push_crawl4ai_with_hungry_tab(self, tag: str) -> None:
        """One that serves, and in which another process takes 4 GiB of memory."""
        self.push_crawl4ai(tag, script=f"{_TAKE_MEMORY} &\n".encode() + _CRAWL4AI.read_bytes())

    def _push_web(
        self,
        repository: str,
        answers: Mapping[str, object],
        script: bytes,
        entrypoint: Sequence[str] = ("/bin/sh", "/serve.sh"),
    ) -> None:
        name = f"{self._registry}/{repository}"
        files = {f"www/{path}": json.dumps(answer).encode() for path, answer in answers.items()}
        root = self._busybox(files | {"serve.sh": script})
        self._docker.run(
            "import", "--change", f"ENTRYPOINT {json.dumps(entrypoint)}", "--change", "ENV PATH=/bin",
            "-", name, stdin=root,
        )  # fmt: skip
        self._push(name)

    def _busybox(self, files: dict[str, bytes]) -> bytes:
        source = self._installed("geusemaker/test-busybox:1", RELEASE, _BUSYBOX)
        container = self._docker.run("create", source, "true")
        try:
            copied = self._docker.output("cp", f"{container}:/bin/busybox", "-")
        finally:
            self._docker.run("rm", container)
        stream = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(copied)) as given, tarfile.open(fileobj=stream, mode="w") as root:
            program = given.extractfile("busybox")
            assert program is not None
            _add(root, "bin/busybox", program.read(), 0o755)
            for name in ("sh", "httpd", "date", "mkdir", "sleep", "test", "wget"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                root.addfile(link)
            for path, content in files.items():
                _add(root, path, content, 0o755 if path.startswith("bin/") else 0o644)
        return stream.getvalue()

    def _installed(self, name: str, release: str, script: str, *arguments: str) -> str:
        """Debian with packages, made once and kept in the Docker daemon."""
        if self._docker.find("image", name) is None:
            builder = f"geusemaker-test-build-{os.getpid()}"
            try:
                debian = ensure_debian(self._docker, release, print)
                command = ("sh", "-c", script, "sh", *arguments)
                self._docker.run("run", "--name", builder, "--network", "host", debian, *command, timeout=900)
                self._docker.run("commit", builder, name)
            finally:
                self._docker.run("rm", "--force", "--volumes", builder)
        return name

    def _commit(self, source: str, name: str, files: dict[str, bytes], *changes: str) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for path, content in files.items():
                _add(archive, path.lstrip("/"), content, 0o755)
        container = self._docker.run("create", source, "true")
        try:
            self._docker.run("cp", "-", f"{container}:/", stdin=stream.getvalue())
            self._docker.run("commit", *(word for text in changes for word in ("--change", text)), container, name)
        finally:
            self._docker.run("rm", container)

    def _push(self, name: str) -> None:
        self._docker.run("push", name)
        self._docker.run("image", "rm", name)


def _add(archive: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
