#!/usr/bin/env bash
# What applying the file would change, as Markdown in $PLAN and in the job's summary. Changes nothing.
#   DEPLOYMENT   the deployment
#   STACK_FILE   its file
#   PLAN         where the Markdown goes (plan.md)
# Exit code: geusemaker's; 5: it would be refused. The Markdown is there in any case.
set -euo pipefail
plan=${PLAN:-plan.md} code=0
geusemaker update "$DEPLOYMENT" -f "$STACK_FILE" --dry-run --output markdown >"$plan" || code=$?
cat "$plan" >>"${GITHUB_STEP_SUMMARY:-summary.md}"
exit "$code"
