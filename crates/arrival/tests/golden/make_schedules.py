"""Writes schedules.json: the instants that vLLM's arrival process gives, for the tests of `arrival`.

An independent statement of the process on NumPy's own generator. Run with NumPy 2.x: python3 make_schedules.py
"""

import itertools
import json
import math
import pathlib

import numpy as np


def instants(n, rate, burstiness, ramp, seed):
    np.random.seed(seed)
    total, out = 0, []
    for i in range(n):
        now = rate
        if ramp is not None:
            kind, start, end = ramp
            p = i / max(n - 1, 1)
            now = start + (end - start) * p if kind == "linear" else start * ((end / start) ** p)
        if now == math.inf:
            gap = 0
        elif burstiness == math.inf:
            gap = 1.0 / now
        else:
            gap = np.random.gamma(shape=burstiness, scale=1.0 / (now * burstiness))
        total = gap if i == 0 else gap + total
        out.append(total)
    if ramp is None and out[-1] != 0:
        factor = (n / rate) / out[-1]
        out = [t * factor for t in out]
    return [float(t) for t in out]


def changes(n, ramp):
    kind, start, end = ramp
    last, out = start, [[start, None]]
    for i in range(n):
        p = i / max(n - 1, 1)
        now = int(start + (end - start) * p if kind == "linear" else start * ((end / start) ** p))
        for rps in range(last + 1, now + 1):
            out.append([rps, i])
        last = max(last, now)
    return out


cases = []
plain = itertools.product([0.3, 4.0, 1000.0, math.inf], [0.1, 0.5, 1.0, 2.5, 100.0, math.inf], [0, 7, 2**32 - 1])
for rate, burstiness, seed in plain:
    if rate == math.inf and (burstiness, seed) != (1.0, 0):
        continue
    cases.append({"n": 20, "rate": str(rate), "burstiness": str(burstiness), "ramp": None, "seed": seed})
ramps = [("linear", 1, 10), ("exponential", 1, 10), ("linear", 3, 3), ("exponential", 2, 1000), ("linear", 5, 7)]
for ramp, burstiness, seed in itertools.product(ramps, [0.5, 1.0, 3.0, math.inf], [0, 42]):
    cases.append({"n": 25, "rate": "inf", "burstiness": str(burstiness), "ramp": ramp, "seed": seed})
for n in [1, 2]:
    cases.append({"n": n, "rate": "4.0", "burstiness": "1.0", "ramp": None, "seed": 0})
    cases.append({"n": n, "rate": "inf", "burstiness": "1.0", "ramp": ("linear", 1, 10), "seed": 0})
for case in cases:
    ramp = case["ramp"]
    case["seconds"] = instants(case["n"], float(case["rate"]), float(case["burstiness"]), ramp, case["seed"])
    case["changes"] = changes(case["n"], ramp) if ramp else []
long = instants(2000, 7.3, 0.7, None, 3)
cases.append({"n": 2000, "rate": "7.3", "burstiness": "0.7", "ramp": None, "seed": 3, "every": 100,
              "seconds": long[::100], "changes": []})
path = pathlib.Path(__file__).with_name("schedules.json")
path.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
