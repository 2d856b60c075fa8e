#!/bin/sh
# The main job, end to end, on the local cloud: deploy, change twice, go back. In a workspace of its own, .demo/,
# which is emptied first; the deployment is left running.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
demo=$root/.demo

# Nothing of the visitor's own Pulumi set-up is used or touched.
unset PULUMI_BACKEND_URL PULUMI_CONFIG_PASSPHRASE PULUMI_CONFIG_PASSPHRASE_FILE PULUMI_STACK
export GEUSEMAKER_HOME="$demo" GEUSEMAKER_LOCAL_DIR="$demo/local"

if [ -d "$demo" ]; then
    printf 'Removing what an earlier demo left in .demo/.\n'
    "$root/.venv/bin/geusemaker" local reset --yes
    rm -rf "$demo"
fi
mkdir -p "$demo"
cat > "$demo/geusemaker" <<WRAPPER
#!/bin/sh
# geusemaker in the demo's own workspace and local cloud
GEUSEMAKER_HOME='$demo' GEUSEMAKER_LOCAL_DIR='$demo/local' exec '$root/.venv/bin/geusemaker' "\$@"
WRAPPER
chmod +x "$demo/geusemaker"

say() {
    printf '\n--- %s\n' "$*"
}

run() {
    printf '$ geusemaker %s\n' "$*"
    "$root/.venv/bin/geusemaker" "$@"
}

say "1 of 5: a first version, v1. Five services on one instance of the local cloud; it stands in for AWS."
# What is healthy is watched for 10 s on a local cloud, whether it stays so: 1 s will do to be shown.
run deploy demo --target local --instance-type t3.large --image n8n=n8nio/n8n:2.42.6 --settle-seconds 1 --yes
say "2 of 5: v2, a larger instance and a newer n8n. The instance is stopped, resized and started; its data stays."
run update demo --instance-type t3.xlarge --image n8n=n8nio/n8n:2.43.3 --yes
say "3 of 5: v3, a newer Ollama. Only its own container is replaced."
run update demo --image ollama=ollama/ollama:0.33.0 --yes
say "4 of 5: back to v2. It becomes v4: history is never rewritten."
run rollback demo --to-version 2 --yes
say "5 of 5: what there is now, and how it came about."
run inspect demo --show-history

cat <<NEXT

--- Done. The deployment "demo" goes on running on the local cloud, with version v4 active.
Its command is $demo/geusemaker: geusemaker in the demo's own workspace. From $root:
  .demo/geusemaker status demo                  how it is now
  .demo/geusemaker logs demo n8n                what n8n wrote
  .demo/geusemaker rollback demo --to-version 1 shows what would be done, and asks
  .demo/geusemaker info demo                    how to reach it
  .demo/geusemaker --help                       everything else
To clean up (removes the deployment, its data and everything that runs for it):
  .demo/geusemaker local reset --yes && rm -rf .demo
NEXT
