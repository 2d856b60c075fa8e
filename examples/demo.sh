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

run() {
    printf '\n$ geusemaker %s\n' "$*"
    "$root/.venv/bin/geusemaker" "$@"
}

run deploy demo --target local --instance-type t3.large --image n8n=n8nio/n8n:1.100.1 --yes
run update demo --instance-type t3.xlarge --image n8n=n8nio/n8n:1.101.1 --yes
run update demo --image ollama=ollama/ollama:0.9.7 --yes
run rollback demo --to-version 2 --yes
run inspect demo --show-history

cat <<NEXT

The deployment "demo" goes on running on the local cloud. Go on with:
  .demo/geusemaker status demo
  .demo/geusemaker logs demo n8n
  .demo/geusemaker rollback demo --to-version 1
  .demo/geusemaker info demo
Remove it, and everything it runs:
  .demo/geusemaker local reset --yes && rm -rf .demo
NEXT
