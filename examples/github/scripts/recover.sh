#!/usr/bin/env bash
# Repair what an interrupted or failed operation left, and start what should run and does not. Harmless otherwise.
#   DEPLOYMENT   the deployment
# Exit code: geusemaker's, but 0 where somebody is at work: the next run looks again.
set -euo pipefail
code=0
geusemaker recover "$DEPLOYMENT" --yes --output markdown >>"${GITHUB_STEP_SUMMARY:-summary.md}" || code=$?
[ "$code" = 6 ] && code=0
exit "$code"
