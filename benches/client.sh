#!/usr/bin/env bash
# Measures the client's own cost, compared with a raw epoll reader of the same stream.
#
#   benches/client.sh [RUNS] [EVENTS_PER_WRITE] [STREAMS] [REQUESTS] [TOKENS]
#
# OTHER=FILE measures another build of the program in turn with this one, such as the static file of packaging/static.sh.
#
# The server is pinned to CPU 0, the two clients in turn to CPU 1. Each run prints one line; the last line has the
# medians and the ratio of the rates. Makes a release build. Needs taskset and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} per_write=${2:-16} streams=${3:-64} requests=${4:-2000} tokens=${5:-1024}
cargo build --release --quiet -p inferometer
cargo build --release --quiet -p inferometer-os --example raw_reader
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
bin=$target/release/inferometer raw=$target/release/examples/raw_reader
other=${OTHER:+$(realpath "$OTHER")}
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
taskset -c 0 "$bin" sim --port 0 --flood "$per_write" > "$folder/sim" & server=$!
until grep -q http "$folder/sim" 2>/dev/null; do sleep 0.05; done
url=$(grep -o 'http://[0-9.:]*' "$folder/sim" | head -1)
client() {
  (cd "$folder" && taskset -c 1 "$1" run --base-url "$url" --model sim --tokenizer builtin --num-prompts "$requests" \
    --max-concurrency "$streams" --random-input-len 8 --random-output-len "$tokens" --disable-tqdm \
    --no-run-folder --save-result --save-detailed --result-filename "$2" > "out.$2")
}
for run in $(seq "$runs"); do
  taskset -c 1 "$raw" "${url#http://}" "$streams" "$requests" "$tokens" > "$folder/raw.$run"
  client "$bin" "ours.$run"
  if [ -n "$other" ]; then client "$other" "other.$run"; fi
done
python3 - "$folder" "$runs" <<'PYTHON'
import json, os, statistics, sys
folder, runs = sys.argv[1], int(sys.argv[2])
raw, ours, other = [], [], []


def client(name):
    o = json.load(open(f"{folder}/{name}"))
    events = o["inferometer"]["extras"]["receive"]["events"]
    cpu = sum(w["cpu"] for w in o["inferometer"]["client"]["workers"]) / 1e9
    return events / o["duration"], cpu / events * 1e6


for run in range(1, runs + 1):
    r = json.load(open(f"{folder}/raw.{run}"))
    raw.append((r["events_per_s"], r["cpu_s_per_million"]))
    ours.append(client(f"ours.{run}"))
    if os.path.exists(f"{folder}/other.{run}"):
        other.append(client(f"other.{run}"))
    print(f"run {run}: raw {raw[-1][0]:9.0f} events/s {raw[-1][1]:.2f} CPU s/M | "
          f"inferometer {ours[-1][0]:9.0f} events/s {ours[-1][1]:.2f} CPU s/M")
m = lambda rows, i: statistics.median(row[i] for row in rows)
print(f"median: raw {m(raw,0):.0f} events/s, {m(raw,1):.2f} CPU s/M; inferometer {m(ours,0):.0f} events/s, "
      f"{m(ours,1):.2f} CPU s/M; rate ratio {m(ours,0)/m(raw,0):.2f}")
if other:
    print(f"median of the other build: {m(other,0):.0f} events/s, {m(other,1):.2f} CPU s/M; "
          f"rate ratio to this one {m(other,0)/m(ours,0):.2f}")
PYTHON
