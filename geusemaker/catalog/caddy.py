"""Caddy: what answers under the deployment's domains, by HTTPS, and passes on to the services that are open there.

It comes and goes with the domains, which are facts of the deployment (``models/site.py``), and is never asked for by
name; only its image is part of a version. Its certificates are on EFS, and it renews them by itself. What it is
configured with is made in ``program/proxy.py``.
"""

from __future__ import annotations

from typing import Final

from geusemaker.catalog.confinement import Confinement
from geusemaker.catalog.package import Package
from geusemaker.catalog.service import Data, Service

SERVICE: Final = Service(
    name="caddy",
    title="Caddy",
    start_order=2000,
    image="caddy:2.11.9",
    repositories=("caddy",),
    package=Package("Go", "github.com/caddyserver/caddy/v2"),
    port=2020,  # on the instance's loopback: answers once Caddy has taken its config
    # A limit of its own: with a share of the sum it would lower the others' limits, and so restart them.
    memory_share=0,
    memory_mib=128,
    least_mib=128,
    serves_domains=True,
    # github.com/caddyserver/caddy-docker, Dockerfile: the program's file has this one, and is not started without.
    confinement=lambda _image: Confinement(capabilities=("NET_BIND_SERVICE",)),
    data=Data(path="/data", uid=0),
    environment={"GOMEMLIMIT": "100MiB", "XDG_CONFIG_HOME": "/config", "XDG_DATA_HOME": "/data"},
    reserved=frozenset({"CADDY_CONFIG"}),
    readiness={"kind": "http", "path": "/", "json": True},
)
