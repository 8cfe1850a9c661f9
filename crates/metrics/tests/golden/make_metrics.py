"""Writes numpy.json and summary.json: what NumPy computes, for the tests of `metrics`.

`summary.json` states vLLM's definitions a second time, on NumPy, for synthetic records.
Run with NumPy 2.x: python3 make_metrics.py
"""

import json
import math
import pathlib
import random

import numpy as np

HERE = pathlib.Path(__file__).parent
PERCENTILES = [0, 0.1, 1, 5, 12.5, 25, 33.3, 50, 66.67, 75, 90, 95, 99, 99.9, 99.99, 100]


def mixed(n, seed, kind):
    """Values by a recipe that Rust repeats: the upper bits of a 64-bit linear congruence."""
    state, out = seed, []
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        u = (state >> 11) / 2**53
        if kind == "uniform":
            out.append(u)
        elif kind == "wide":
            out.append(u * 10.0 ** (int(u * 7919) % 13 - 6))
        elif kind == "close":
            out.append(0.01 + u * 1e-9)
        else:
            out.append(math.floor(u * 8) / 4)
    return out


def numbers(values):
    return {
        "sum": float(np.sum(values)),
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "median": float(np.median(values)),
        "percentiles": [float(np.percentile(values, p)) for p in PERCENTILES],
    }


def numpy_cases():
    cases = []
    lengths = [1, 2, 3, 7, 8, 9, 15, 16, 127, 128, 129, 136, 255, 256, 257, 1000, 1023, 4099, 100_003]
    for n in lengths:
        for kind in ["uniform", "wide", "close", "steps"]:
            cases.append({"recipe": [n, n + 17, kind], "values": [], **numbers(mixed(n, n + 17, kind))})
    literal = [
        [0.0], [0.0, 0.0], [-0.0, -0.0], [1e150, 1e150 / 3], [5e-324, 1e-320, 0.0], [1.0, 1e100, 1.0, -1e100],
        [0.1] * 10, [0.1 * i for i in range(11)], [1e16, 1.0, -1e16, 1.0, 3.0], [3.3, 1.1, 2.2],
        [0.05, 0.05, 0.050000000000000003, 0.04999999999999999],
    ]
    for values in literal:
        cases.append({"recipe": [0, 0, ""], "values": values, **numbers(values)})
    return {"percentiles": PERCENTILES, "cases": cases}


def record(rng, index, due):
    start = due + rng.randrange(0, 3_000_000)
    ok = rng.random() > 0.1
    events, at = [], start + rng.randrange(10_000_000, 900_000_000)
    for _ in range(rng.choice([0, 1, 1, 2, 5, 40])):
        events.append(at)
        at += rng.choice([0, 10_000_000, rng.randrange(1, 60_000_000), rng.randrange(1, 2_000_000_000)])
    end = (events[-1] if events else at) + rng.randrange(0, 5_000_000)
    tokens = len(events) + rng.choice([0, 0, 1, 7])
    return {"due": due, "dequeued": due + (start - due) // 2, "start": start, "events": events, "end": end, "ok": ok,
            "prompt": rng.randrange(1, 500), "server_prompt": rng.choice([None, rng.randrange(1, 500)]),
            "tokens": tokens}


def seconds(ns):
    return ns / 1e9


def summary(records, limits, cap, percentiles):
    ok = [r for r in records if r["ok"]]
    duration = seconds(max(r["end"] for r in records)) if records else 0.0
    start = [seconds(r["start"]) for r in ok]
    last = [r["events"][-1] if r["events"] else r["end"] for r in ok]
    # An answer in one piece has no first token to be seen: 0, as vLLM keeps it, and no part of any statistic.
    ttft = [seconds(r["events"][0] - r["start"]) if r["events"] else 0.0 for r in ok]
    timed = [bool(r["events"]) for r in ok]
    e2el = [seconds(x - r["start"]) for x, r in zip(last, ok)]
    itls = [[seconds(b - a) for a, b in zip(r["events"], r["events"][1:])] for r in ok]
    pooled = [gap for itl in itls for gap in itl]
    tpots = [(e - t) / (r["tokens"] - 1) if r["tokens"] > 1 and r["events"] else 0.0 for e, t, r in zip(e2el, ttft, ok)]
    tpot = [t for t, r in zip(tpots, ok) if r["tokens"] > 1 and r["events"]]
    queue = [seconds(r["dequeued"] - r["due"]) for r in ok]
    values = {"ttft": [t for t, seen in zip(ttft, timed) if seen], "tpot": tpot, "itl": pooled, "e2el": e2el}
    if cap is not None:
        values["client_queue_time"] = queue
        values["e2el_including_client_queue"] = [e + q for e, q in zip(e2el, queue)]
    by_name = {"ttft": ttft, "tpot": tpots, "e2el": e2el}
    good = sum(all(by_name[name][i] <= limit / 1000 for name, limit in limits) for i in range(len(ok)))
    peak, busy = 0.0, 0
    if ok:
        origin = min(start)
        n = int(np.ceil(max(s + e for s, e in zip(start, e2el)) - origin)) + 1
        tokens, active = np.zeros(n), np.zeros(n)
        for s, t, e, itl, seen in zip(start, ttft, e2el, itls, timed):
            at = s + t
            for gap in [None, *itl] if seen else []:
                at = at if gap is None else at + gap
                if 0 <= int(at - origin) < n:
                    tokens[int(at - origin)] += 1
            active[int(s - origin) : int(s + e - origin) + 1] += 1
        peak, busy = float(tokens.max()), int(active.max())
    prompt = sum(r["server_prompt"] if r["server_prompt"] is not None else r["prompt"] for r in ok)
    output = sum(r["tokens"] for r in ok)
    rate = lambda amount: amount / duration if duration else 0.0
    return {
        "duration": duration, "completed": len(ok), "failed": len(records) - len(ok), "total_input": prompt,
        "total_output": output, "request_throughput": rate(len(ok)), "goodput": rate(good) if limits else None,
        "output_throughput": rate(output), "total_token_throughput": rate(prompt + output),
        "max_output_tokens_per_s": peak, "max_concurrent_requests": busy,
        "stats": [[name, len(v), float(np.mean(v or 0) * 1000), float(np.median(v or 0) * 1000),
                   float(np.std(v or 0) * 1000), [float(np.percentile(v or 0, p) * 1000) for p in percentiles]]
                  for name, v in values.items()],
    }


def summary_cases():
    cases = []
    percentiles = [50, 90, 99, 99.9]
    plans = [(0, None, []), (1, None, []), (3, 2, []), (40, None, [["ttft", 300]]), (60, 4, [["ttft", 500], ["tpot", 40]]),
             (150, 16, [["ttft", 700], ["tpot", 60], ["e2el", 5000]])]
    for seed, (n, cap, limits) in enumerate(plans):
        rng = random.Random(seed)
        due, records = 0, []
        for index in range(n):
            due += rng.randrange(0, 200_000_000)
            records.append(record(rng, index, due))
        cases.append({"cap": cap, "limits": limits, "percentiles": percentiles, "records": records,
                      "want": summary(records, limits, cap, percentiles)})
    return cases


def write(name, value):
    text = json.dumps(value, separators=(",", ":")).replace('{"recipe"', '\n{"recipe"').replace('{"cap"', '\n{"cap"')
    (HERE / name).write_text(text + "\n")


write("numpy.json", numpy_cases())
write("summary.json", summary_cases())
