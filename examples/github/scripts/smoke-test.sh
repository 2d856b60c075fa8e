#!/usr/bin/env bash
# Run a test against a service, through a tunnel that stands for as long as the test takes.
#   DEPLOYMENT   the deployment
#   SERVICE      the service (n8n)
#   SMOKE_TEST   a program; it is given the service's address here, and ends with 0 if all is well
# Exit code: 0 all is well; 1 it is not; 8 there is no tunnel, so nobody knows.
set -euo pipefail
service=${SERVICE:-n8n} address=
exec 3< <(exec geusemaker tunnel "$DEPLOYMENT" "$service" --output json)
tunnel=$!
trap 'kill "$tunnel" 2>/dev/null || true; wait "$tunnel" || true' EXIT
# The document is written when the tunnel stands; its last line is the bracket alone.
while IFS= read -r line <&3 && [ "$line" != "}" ]; do
    case $line in *"\"$service\": \""*) address=${line#*\": \"} address=${address%\"*} ;; esac
done
[ -n "$address" ] || { echo "There is no tunnel to $service of $DEPLOYMENT." >&2; exit 8; }
"$SMOKE_TEST" "$address" || exit 1
