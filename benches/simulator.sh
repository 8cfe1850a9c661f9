#!/bin/sh
# Measures the simulator's capacity: its emission error with 5,000 paced streams, its throughput without delays, and the
# speed of the engine model alone. Needs an otherwise idle host with two CPUs: one for the server's thread, one for the
# client that reads.
#
#   benches/simulator.sh            # 3 paced runs of 20 s
#   RUNS=1 SECONDS_EACH=5 benches/simulator.sh
set -eu
cd "$(dirname "$0")/.."
cargo build --release --quiet -p inferometer-sim --example measure
measure="${CARGO_TARGET_DIR:-target}/release/examples/measure"
uptime
i=0
while [ "$i" -lt "${RUNS:-3}" ]; do
    echo "== 5,000 streams at 20 tokens/s (goal: late by less than 1 ms at p99)"
    "$measure" paced 5000 20 "${SECONDS_EACH:-20}"
    i=$((i + 1))
done
echo "== 64 streams without delays, 16 events per write (goal: 300,000 events/s)"
"$measure" flood 64 16 4000000
echo "== the same, one event per write"
"$measure" flood 64 1 1000000
echo "== the same with the kernel's send stamps"
"$measure" flood 64 1 1000000 stamps
echo "== engine model alone, 100 streams"
"$measure" engine 100 600
uptime
