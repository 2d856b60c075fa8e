#!/usr/bin/env bash
# GitLab: the job's own token, where AWS's tools look for it. They exchange it for credentials of AWS_ROLE_ARN.
#   AWS_TOKEN                     the token (id_tokens)
#   AWS_WEB_IDENTITY_TOKEN_FILE   where it goes
set -euo pipefail
umask 077
printf '%s' "$AWS_TOKEN" >"$AWS_WEB_IDENTITY_TOKEN_FILE"
