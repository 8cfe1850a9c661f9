#!/usr/bin/env bash
# Builds a container image from nothing: the static file, the certificates of authorities, and a user that is not root.
#
#   packaging/image.sh [NAME]
#
# Makes the image NAME (inferometer:latest) with buildah, without any registry, and runs `inferometer quickstart` in it.
# Needs buildah and what packaging/static.sh needs; the certificates are those of Debian's ca-certificates.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-inferometer:latest}
packaging/static.sh target/static
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp target/static/inferometer packaging/Containerfile "$context/"
cp /etc/ssl/certs/ca-certificates.crt "$context/"
mkdir "$context/empty"
buildah build --isolation chroot --tag "$name" "$context"

# The image runs where nothing but itself is there.
container=$(buildah from --pull-never "$name")
trap 'rm -rf "$context"; buildah rm "$container" >/dev/null' EXIT
buildah run --isolation chroot "$container" /inferometer --version
buildah run --isolation chroot --workingdir /tmp "$container" /inferometer quickstart --num-prompts 50
buildah images --filter reference="$name"
