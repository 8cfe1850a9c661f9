#!/usr/bin/env bash
# Counts false alarms: makes short clean runs and counts the reasons in their verdicts.
#
#   benches/clean.sh [N] [RATE] [TOKENS]
#
# N (100) runs of one second against one simulator, each with its own seed: Poisson arrivals at RATE (100) per second,
# TOKENS (20) tokens per answer, and at least the 64 requests that a p90 needs. The server is pinned to CPU 0 and the
# client to CPU 1. Prints each run that is not VALID, then how often each reason was raised. On an otherwise idle machine
# every run should be VALID; disturbances of the client by other programs are reported, and rightly so.
# Exits with 1 if a run raised a reason. Needs taskset and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-100} rate=${2:-100} tokens=${3:-20}
requests=$((rate > 64 ? rate : 64))
. benches/binary.sh
folder=$(mktemp -d)
server=
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
taskset -c 0 "$bin" sim --port 0 --ttft 50 --itl 10 > "$folder/sim" & server=$!
until grep -q http "$folder/sim"; do kill -0 "$server"; sleep 0.05; done
url=$(grep -o 'http://[0-9.:]*' "$folder/sim" | head -1)
for run in $(seq "$runs"); do
  (cd "$folder" && taskset -c 1 "$bin" run --base-url "$url" --model sim --tokenizer builtin \
    --num-prompts "$requests" --request-rate "$rate" --random-input-len 8 --random-output-len "$tokens" \
    --ignore-eos --metric-percentiles 90 --disable-tqdm --no-run-folder --save-result --seed "$run" \
    --result-filename "run.$run" > "out.$run") || { cat "$folder/out.$run"; exit 2; }
done
python3 - "$folder" "$runs" <<'PYTHON'
import collections, json, sys
folder, runs = sys.argv[1], int(sys.argv[2])
levels, reasons = collections.Counter(), collections.Counter()
answered = 0
for run in range(1, runs + 1):
    result = json.load(open(f"{folder}/run.{run}"))
    verdict = result["inferometer"]["verdict"]
    answered += result["completed"]
    levels[verdict["level"]] += 1
    for reason in verdict["reasons"]:
        reasons[reason["code"], reason["level"]] += 1
        print(f"run {run}: {reason['level']} {reason['code']}: {reason['message']}")
print(f"{runs} runs, {answered} answers: " + ", ".join(f"{levels[level]} {level}" for level in ("VALID", "CAUTION", "INVALID")))
print(f"{'reason':<20}{'CAUTION':>10}{'INVALID':>10}")
for code in sorted({code for code, _ in reasons}):
    print(f"{code:<20}{reasons[code, 'CAUTION']:>10}{reasons[code, 'INVALID']:>10}")
if not reasons:
    print(f"{'none':<20}{0:>10}{0:>10}")
sys.exit(1 if reasons else 0)
PYTHON
