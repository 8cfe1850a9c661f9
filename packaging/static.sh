#!/usr/bin/env bash
# Builds one static file, which runs on any Linux (x86-64) without a library beside it.
#
#   packaging/static.sh [OUT]
#
# The file `inferometer` and the archive inferometer-VERSION-x86_64-linux.tar.gz (the file, completions, manual pages,
# licence) are put into OUT (target/static). Needs Rust and the static glibc of the system (Debian: libc6-dev).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/static}
# getrandom looks the system call up with `dlsym`, which a static glibc lacks; this setting calls it directly.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" \
  cargo build --release --locked -p inferometer --target x86_64-unknown-linux-gnu
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
mkdir -p "$out"
install -m 755 "$target/x86_64-unknown-linux-gnu/release/inferometer" "$out/inferometer"
strip "$out/inferometer"
. packaging/share.sh
version=$("$out/inferometer" --version | cut -d ' ' -f 2)
name=inferometer-$version-x86_64-linux
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/$name"
cp "$out/inferometer" LICENSE README.md CHANGELOG.md "$folder/$name/"
share "$out/inferometer" "$folder/$name/share"
tar -C "$folder" --owner=0 --group=0 --sort=name -czf "$out/$name.tar.gz" "$name"
ls -l "$out"
