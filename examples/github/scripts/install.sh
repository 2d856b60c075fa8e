#!/usr/bin/env bash
# geusemaker and an engine for it.
#   GEUSEMAKER   what pip is to install: geusemaker==VERSION, or a wheel
set -euo pipefail
pip install --quiet --disable-pip-version-check "$GEUSEMAKER"
geusemaker doctor --get-engine
