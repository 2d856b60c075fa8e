#!/bin/sh
# Build wheel and sdist into dist/, try the wheel in an empty folder, and print what is left to type.
# usage: tools/release.sh FOLDER-OF-PROGRAMS
set -eu
bin=$1
fail() {
    echo "release: $1" >&2
    exit 1
}

version=$("$bin/python" -c 'from geusemaker._version import __version__; print(__version__)')
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed; commit or remove them first"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "there is a tag v$version already; count geusemaker/_version.py up"

rm -rf dist && mkdir dist
awk -v heading="## [$version]" 'index($0, heading) == 1 { on = 1; next } /^## / { on = 0 } on' CHANGELOG.md > dist/NOTES.md
grep -q '[^[:space:]]' dist/NOTES.md || fail "CHANGELOG.md has no entry for $version (a heading [$version] - YYYY-MM-DD)"

"$bin/uv" build --quiet --no-build-isolation --python "$bin/python" --out-dir dist
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$bin/uv" venv --quiet --python "$bin/python" "$folder/venv"
"$bin/uv" pip install --quiet --python "$folder/venv/bin/python" dist/*.whl
said=$(cd "$folder" && env -i HOME="$folder" PATH=/usr/bin:/bin "$folder/venv/bin/geusemaker" --version)
[ "$said" = "geusemaker $version" ] || fail "the wheel says \"$said\", not \"geusemaker $version\""

echo "release: dist/ has wheel, sdist and NOTES.md of $version. What is left, and cannot be taken back:"
echo "    git tag -a v$version -F dist/NOTES.md && git push origin v$version"
echo "    $bin/uv publish dist/*.whl dist/*.tar.gz"
