#!/usr/bin/env bash
# Make it what the file says, try it out, and go back if it does not work.
#   DEPLOYMENT, STACK_FILE   as for plan.sh
#   SERVICE, SMOKE_TEST      as for smoke-test.sh; without SMOKE_TEST nothing is tried out
#   REASON                   why, for the history
# Exit codes as geusemaker's: 3: it failed, or its smoke test did, and the version of before is back; 4: it is not back.
set -euo pipefail
summary=${GITHUB_STEP_SUMMARY:-summary.md}
active() { geusemaker inspect "$DEPLOYMENT" --output json | sed -n 's/^  "active_version": \([0-9]*\),*$/\1/p'; }

before=$(active) code=0
# An update that does not become healthy goes back by itself, and ends with 3.
geusemaker update "$DEPLOYMENT" -f "$STACK_FILE" --yes --wait-lock 10m --reason "${REASON:-pipeline}" \
    --output markdown >>"$summary" || code=$?
[ "$code" = 0 ] || exit "$code"
made=$(active)

[ -n "${SMOKE_TEST:-}" ] || exit 0
tell() { printf '\n%s\n' "$*" | tee -a "$summary" >&2; }
bash "$(dirname "$0")/smoke-test.sh" || code=$?
case $code in
    0) tell "The smoke test passed on v$made."; exit 0 ;;
    8) tell "v$made is healthy, but it could not be tried out: there is no way to its services from here."; exit 4 ;;
esac
tell "The smoke test failed on v$made."
if [ "$made" = "$before" ]; then
    tell "This run changed nothing: there is nothing to take back."
    exit 1
fi
if [ "$(active)" != "$made" ]; then
    tell "Somebody else has made another version since: it is left to them."
    exit 4
fi
if geusemaker rollback "$DEPLOYMENT" --yes --wait-lock 10m --reason "smoke test failed" --output markdown >>"$summary"; then
    exit 3
fi
exit 4
