#!/bin/sh
# As the official image's: n8n, or the command of n8n's that the container is given.
exec n8n "$@"
