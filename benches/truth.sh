#!/usr/bin/env bash
# Measures the client's own error: reported TTFT and ITL against the simulator's truth log, and the lateness of sends.
#
#   benches/truth.sh [RATE] [TOKENS] [SECONDS] [RUNS] [BUSY]
#
# The server is pinned to CPU 0 and the client to CPU 1; with BUSY above 0, this many busy loops run on each of the two.
# Arrivals are Poisson. Compared are
#   - the first token's instant with the first event's hand-over to the kernel;
#   - TTFT with the time from the arrival of the request's last byte in the kernel (the server's receive stamp) to that
#     hand-over, and with the time from the instant at which the server had read the request to that hand-over, which
#     leaves out the time that a busy server needs to wake up;
#   - ITL with the gaps between hand-overs.
# Each run prints one line; the last line has the medians over the runs. Needs taskset and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
rate=${1:-300} tokens=${2:-100} seconds=${3:-10} runs=${4:-5} busy=${5:-0}
. benches/binary.sh
folder=$(mktemp -d)
loops=()
trap 'kill "$server" "${loops[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq "$busy"); do
  for cpu in 0 1; do taskset -c "$cpu" bash -c 'while :; do :; done' & loops+=($!); done
done
for run in $(seq "$runs"); do
  taskset -c 0 "$bin" sim --port 0 --ttft 50 --itl 10 --truth "$folder/truth.$run" > "$folder/sim.$run" & server=$!
  until grep -q http "$folder/sim.$run" 2>/dev/null; do sleep 0.05; done
  url=$(grep -o 'http://[0-9.:]*' "$folder/sim.$run" | head -1)
  (cd "$folder" && taskset -c 1 "$bin" run --base-url "$url" --model sim --tokenizer builtin \
    --num-prompts $((rate * seconds)) --request-rate "$rate" --random-input-len 8 --random-output-len "$tokens" \
    --ignore-eos --disable-tqdm --no-run-folder --save-result --save-detailed --seed "$run" \
    --result-filename "ours.$run" > "out.$run")
  kill "$server"; wait "$server" 2>/dev/null || true
done
python3 - "$folder" "$runs" <<'PYTHON'
import json, statistics, sys
folder, runs = sys.argv[1], int(sys.argv[2])
def at(values, p):
    values = sorted(values) or [float("nan")]
    return values[min(len(values) - 1, int(len(values) * p / 100))]
rows = []
for run in range(1, runs + 1):
    ours = json.load(open(f"{folder}/ours.{run}"))
    first, arrived, ttft, itl = [], [], [], []
    for line in open(f"{folder}/truth.{run}"):
        truth = json.loads(line)
        if not truth.get("events") or not truth.get("id"):
            continue
        index = int(truth["id"].rsplit("-", 1)[1])
        sent = truth["events"]
        came = (ours["start_times"][index] + ours["ttfts"][index]) * 1e6
        first.append(abs(came - sent[0] / 1e3))
        ttft.append(abs(ours["ttfts"][index] * 1e6 - (sent[0] - truth["body"]) / 1e3))
        if truth.get("request_arrived"):
            arrived.append(abs(ours["ttfts"][index] * 1e6 - (sent[0] - truth["request_arrived"]) / 1e3))
        gaps = ours["itls"][index]
        itl.extend(abs(gap * 1e6 - (b - a) / 1e3) for gap, a, b in zip(gaps, sent, sent[1:]))
    own = ours["inferometer"]
    late = own["extras"]["arrival"]["lateness_ms"]
    row = [at(first, 50), at(first, 99), at(arrived, 50), at(arrived, 99), at(ttft, 50), at(ttft, 99), at(itl, 50), at(itl, 99), late["p50"] * 1e3, late["p99"] * 1e3]
    rows.append(row)
    print(f"run {run}: {ours['completed']} of {ours['num_prompts']} answered, {len(itl)} gaps, "
          "first token p50 %.0f p99 %.0f µs, TTFT error p50 %.0f p99 %.0f µs (from the server's read: p50 %.0f p99 %.0f µs), ITL error p50 %.1f p99 %.0f µs, lateness p50 %.0f p99 %.0f µs, " % tuple(row)
          + own["verdict"]["level"] + " " + ",".join(r["code"] for r in own["verdict"]["reasons"]))
median = [statistics.median(column) for column in zip(*rows)]
print("median: first token p50 %.0f p99 %.0f µs, TTFT error p50 %.0f p99 %.0f µs (from the server's read: p50 %.0f p99 %.0f µs), ITL error p50 %.1f p99 %.0f µs, lateness p50 %.0f p99 %.0f µs" % tuple(median))
PYTHON
