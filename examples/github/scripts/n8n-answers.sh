#!/usr/bin/env bash
# A smoke test: n8n is ready. Yours may run a workflow by its webhook, and look at the answer.
set -euo pipefail
curl --fail --silent --show-error --max-time 60 "$1/healthz/readiness"
