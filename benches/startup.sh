#!/usr/bin/env bash
# Measures the time from the start of the process until the first byte of its first measured request reaches the server.
#
#   benches/startup.sh [TOKENIZER] [RUNS]
#
# Each run sends twenty random prompts of 128 tokens to the simulator, whose truth log records when the byte arrived.
# Prints the median, minimum and maximum of RUNS (11) runs after one that is not counted. TOKENIZER is `builtin` unless
# given. Needs python3.
set -euo pipefail
cd "$(dirname "$0")/.."
tokenizer=$(realpath -e "${1:-builtin}" 2>/dev/null || echo "${1:-builtin}") runs=${2:-11}
. benches/binary.sh
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
"$bin" sim --port 0 --ttft 1 --itl 1 > "$folder/sim" & server=$!
until grep -q http "$folder/sim" 2>/dev/null; do sleep 0.05; done
url=$(grep -o 'http://[0-9.:]*' "$folder/sim" | head -1)
cd "$folder"
python3 - "$bin" "$url" "$tokenizer" "$runs" <<'PYTHON'
import json, statistics, subprocess, sys, time, urllib.request
bin, url, tokenizer, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
def truth():
    lines = urllib.request.urlopen(url + "/truth").read().splitlines()
    return [json.loads(line) for line in lines if b'"first_byte"' in line]
def once():
    seen = len(truth())
    start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    subprocess.run([bin, "run", "--base-url", url, "--model", "sim", "--tokenizer", tokenizer,
                    "--dataset-name", "random", "--random-input-len", "128", "--random-output-len", "2",
                    "--num-prompts", "20", "--disable-tqdm", "--no-run-folder"],
                   check=True, stdout=subprocess.DEVNULL)
    requests = [one for one in truth()[seen:] if one["path"].endswith("completions")]
    return (min(one["first_byte"] for one in requests) - start) / 1e6
once()
times = [once() for _ in range(runs)]
print("start-up to first request: median %.1f ms, minimum %.1f ms, maximum %.1f ms of %d runs"
      % (statistics.median(times), min(times), max(times), runs))
PYTHON
