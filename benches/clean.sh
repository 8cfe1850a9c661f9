#!/usr/bin/env bash
# Do clean runs raise alarms? Short runs with nothing wrong, and the reasons that their verdicts give.
#
#   benches/clean.sh [N] [RATE] [TOKENS]
#
# N (100) runs of one second against one simulator, each with a seed of its own: Poisson arrivals at RATE (100) a second,
# TOKENS (20) tokens an answer, as many requests as the 64 that a p90 needs or more. The server is tied to processor 0
# and the client to processor 1. Prints each run that is not VALID, then how often each reason was raised. On a machine
# with nothing else to do every run should be VALID; what another program does to the client is rightly reported.
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
