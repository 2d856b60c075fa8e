#!/bin/sh
# Stands where Open WebUI would: keeps a file where that has its database, answers its health path, and asks Ollama.
set -eu
trap 'exit 0' TERM
test -n "$WEBUI_SECRET_KEY"
date >> /app/backend/data/starts
mkdir -p /tmp/www
echo '{"status": true}' > /tmp/www/health
httpd -f -p 8080 -h /tmp/www &
until wget -q -O /tmp/www/ollama "$OLLAMA_BASE_URL/api/version"; do sleep 1; done
wait
