#!/usr/bin/env bash
# Installs the wheel into a fresh virtual environment where no Rust can be found, and runs what it holds.
#
#   packaging/try-wheel.sh [WHEEL]
#
# WHEEL is the newest in target/wheels (packaging/wheel.sh). Needs python3 with venv; pyarrow, pandas and polars come from
# PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
wheel=$(realpath "${1:-$(ls -t target/wheels/inferometer-*.whl | head -1)}")
tests=$PWD/python/tests
folder=$(mktemp -d)
server=''
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
# Addresses of package mirrors and proxies stay; the path has the virtual environment and the system only.
keep=()
for name in PIP_INDEX_URL PIP_CONFIG_FILE PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE http_proxy https_proxy no_proxy; do
  [ -z "${!name:-}" ] || keep+=("$name=${!name}")
done
[ ! -f "$HOME/.config/pip/pip.conf" ] || keep+=("PIP_CONFIG_FILE=$HOME/.config/pip/pip.conf")
# To be run in a subshell, which it replaces.
become() { cd "$folder" && exec env -i "${keep[@]}" HOME="$folder" PATH="$folder/venv/bin:/usr/bin:/bin" "$@"; }
alone() { (become "$@"); }
fail() { printf 'wheel: %s\n' "$1" >&2; exit 1; }
if alone sh -c 'command -v cargo || command -v rustc'; then fail "Rust is on the path"; fi

echo "-- installation"
before=$SECONDS
alone pip install -q --disable-pip-version-check "$wheel"
printf 'installed in %s s\n' $((SECONDS - before))
[ "$(alone sh -c 'ls "$HOME/venv/bin" | grep -v -e "^[Aa]ctivate" -e "^pip" -e "^python"')" = inferometer ] ||
  fail "the wheel puts other commands than inferometer on the path: $(ls "$folder/venv/bin")"
alone inferometer --version
for file in bash-completion/completions/inferometer man/man1/inferometer.1 man/man1/inferometer-run.1; do
  [ -s "$folder/venv/share/$file" ] || fail "share/$file is missing"
done

python3 - "$wheel" <<'PY'
import json, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
[name] = [name for name in wheel.namelist() if name.endswith(".cyclonedx.json")]
parts = json.loads(wheel.read(name))["components"]
assert {"tokio", "arrow-array", "inferometer-wire"} <= {part["name"] for part in parts}, name
print(f"bill of materials: {len(parts)} crates")
PY

echo "-- quickstart"
alone inferometer quickstart --num-prompts 50 > "$folder/quickstart.txt" || fail "$(cat "$folder/quickstart.txt")"
grep '^Verdict:' "$folder/quickstart.txt"

echo "-- scripts with the names of vLLM's"
alone inferometer install-shims "$folder/shims" > /dev/null
become inferometer sim --port 0 --ttft 5 --itl 1 > "$folder/sim.txt" &
server=$!
for _ in $(seq 50); do port=$(grep -m1 -o ':[0-9]\+' "$folder/sim.txt" | head -1 | tr -d :) && break; sleep 0.1; done
alone python3 shims/benchmark_serving.py --backend vllm --base-url "http://127.0.0.1:$port" --model sim \
  --tokenizer builtin --dataset-name random --num-prompts 10 --random-output-len 5 > "$folder/shim.txt" 2>&1 ||
  fail "$(cat "$folder/shim.txt")"
grep 'Successful requests: *10 *$' "$folder/shim.txt"

echo "-- the Python package"
alone pip install -q --disable-pip-version-check pyarrow pandas polars
alone python3 -m unittest discover -q "$tests"
alone python3 -m inferometer --version
echo "-- works"
