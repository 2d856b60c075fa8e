#!/bin/sh
# Make the virtual environment FOLDER with exactly the versions of requirements.lock and this package (editable).
# usage: tools/venv.sh FOLDER [PYTHON]
set -eu
venv=$1
wanted=${2:-}

usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

python=
for candidate in ${wanted:-python3 python3.13 python3.12 python3.11}; do
    if usable "$candidate"; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
    echo "setup: no usable Python found (looked for: ${wanted:-python3, python3.13, python3.12, python3.11})." >&2
    echo "setup: install Python 3.11 or newer with its venv module (Debian: apt-get install python3 python3-venv)," >&2
    echo "setup: or name one: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi

echo "setup: making $venv with $($python --version) and $(grep -c '==' requirements.lock) locked packages"
"$python" -m venv --clear "$venv"

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# The lock is complete, so nothing has to be resolved (--no-deps), and each file is checked against its hashes. uv installs it in seconds where pip needs most of a
# minute, but does not read pip's configuration (index, certificates): pip's is handed over, and pip is the fallback.
with_uv() {
    index=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
    if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
    sed -n '/^uv==/,/[^\\]$/p' requirements.lock > "$venv/uv.lock"
    pip install --no-compile --no-deps --require-hashes -r "$venv/uv.lock" &&
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --require-hashes \
            -r requirements.lock
}
if ! with_uv; then
    echo "setup: uv could not install the packages; trying pip" >&2
    pip install --no-compile --no-deps --require-hashes -r requirements.lock
fi
pip install --no-deps --no-build-isolation --no-index --editable .
pip check
"$venv/bin/python" tools/precompile.py
