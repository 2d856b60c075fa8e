#!/usr/bin/env bash
# Repair what an interrupted or failed operation left, and start what should run and does not. Harmless otherwise.
#   DEPLOYMENT   the deployment
# Exit code: geusemaker's. It waits for who is at work; 6: that goes on for long, or its machine is gone, as a lost job's is.
set -euo pipefail
geusemaker recover "$DEPLOYMENT" --yes --wait-lock 45m --output markdown >>"${GITHUB_STEP_SUMMARY:-summary.md}"
