#!/usr/bin/env bash
# Builds a container image from nothing (the static file, the certificates of authorities, and a user that is not root),
# and runs `inferometer quickstart` in it.
#
#   packaging/image.sh [FILE [NAME]]
#
# FILE is target/static/inferometer (packaging/static.sh), NAME is inferometer:latest. Needs buildah, and no registry; the
# certificates are those of Debian's ca-certificates.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-target/static/inferometer} name=${2:-inferometer:latest}
context=$(mktemp -d) container=''
trap 'rm -rf "$context"; [ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT
cp "$file" packaging/Containerfile "$context/"
cp /etc/ssl/certs/ca-certificates.crt "$context/"
mkdir "$context/empty"
buildah build --isolation chroot --tag "$name" "$context"

# It runs where nothing but itself is there, and not as root.
container=$(buildah from --pull-never "$name")
inside() { buildah run --isolation chroot "$container" /inferometer "$@"; }
inside --version
inside quickstart --num-prompts 50 > "$context/quickstart.txt"
grep '^Verdict:' "$context/quickstart.txt"
owner=$(stat --format=%u "$(buildah mount "$container")/data/inferometer-runs")
[ "$owner" = 10001 ] || { printf 'image: the program ran as user %s\n' "$owner" >&2; exit 1; }
buildah images --filter reference="$name"
