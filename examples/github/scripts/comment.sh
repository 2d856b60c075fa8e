#!/usr/bin/env bash
# The plan as a comment on the pull request: one a deployment, written over by each further plan.
#   DEPLOYMENT, PLAN                   as for plan.sh
#   PULL_REQUEST, GITHUB_REPOSITORY    its number; OWNER/NAME
#   GH_TOKEN                           may write comments; gh reads it itself
set -euo pipefail
plan=${PLAN:-plan.md}
[ -s "$plan" ] || { echo "There is no plan in $plan: nothing to comment." >&2; exit 1; }
mark="<!-- geusemaker plan of $DEPLOYMENT -->"
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
    echo "$mark"
    # GitHub takes 65536 characters. A plan that was cut off could end within a table, so it is all or none.
    if [ "$(wc -c <"$plan")" -le 60000 ]; then
        cat "$plan"
    else
        echo "The plan is too long for a comment: it is in the job's summary."
    fi
} >"$body"
# Only a comment of the workflow's own: what somebody else begins with the mark is theirs.
ours=".[] | select(.user.login == \"github-actions[bot]\") | select(.body | startswith(\"$mark\")) | .id"
found=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments" --jq "$ours")
if [ -n "$found" ]; then
    gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/${found%%$'\n'*}" --field body=@"$body" --silent
else
    gh pr comment "$PULL_REQUEST" --repo "$GITHUB_REPOSITORY" --body-file "$body"
fi
