"""Writes random.json: what NumPy and Python draw, for the tests of `core::random`.

Run with NumPy 2.x and CPython 3.11 or newer: python3 make_random.py
"""

import json
import pathlib
import random

import numpy as np
import pandas as pd

SEEDS = [0, 1, 42, 12345, 2**32 - 1]
BIG_SEEDS = [2**32, 2**63 + 12345, 2**64 - 1]


def generator(seed):
    rng = np.random.default_rng
    mixed = rng(seed)
    mixed_draws = []
    for _ in range(20):
        mixed_draws.append(int(mixed.integers(0, 1000)))
        mixed_draws.append(int(mixed.integers(-5, 2**40)))
        mixed_draws.append(int(mixed.integers(7, 8)))
        mixed_draws.append(int(mixed.integers(0, 3_000_000_000)))
    p = [0.5, 0.25, 0.125, 0.1, 0.025]
    choice = rng(seed)
    return {
        "seed": seed,
        "raw": [int(x) for x in rng(seed).bit_generator.random_raw(5)],
        "random": rng(seed).random(20).tolist(),
        "uniform": rng(seed).uniform(-3.0, 7.5, 10).tolist(),
        "integers": rng(seed).integers(0, 128_256, 50).tolist(),
        "integers_even": rng(seed).integers(0, 4, 9).tolist(),
        "integers_u32": rng(seed).integers(0, 2**32, 9).tolist(),
        "integers_full": rng(seed).integers(-(2**63), 2**63 - 1, 9, endpoint=True).tolist(),
        "mixed": mixed_draws,
        "u8_full": rng(seed).integers(0, 256, 30, dtype=np.uint8).tolist(),
        "u8_part": rng(seed).integers(3, 203, 50, dtype=np.uint8).tolist(),
        "choice": [int(choice.choice(len(p), p=p)) for _ in range(40)],
        "permutation": rng(seed).permutation(50).tolist(),
        "shuffle_list": shuffled(rng(seed), list(range(33))),
    }


def shuffled(rng, items):
    rng.shuffle(items)
    return items


def legacy(seed):
    state = np.random.RandomState
    frame = pd.DataFrame({"a": range(100)})
    np.random.seed(seed)
    mixed = []
    for _ in range(10):
        mixed.append(np.random.gamma(2.5, 0.4))
        mixed.append(np.random.standard_normal())
        mixed.append(np.random.gamma(0.3, 2.0))
        mixed.append(np.random.standard_exponential())
        mixed.append(np.random.random_sample())
    shapes = [0.05, 0.25, 0.5, 0.999, 1.0, 1.5, 2.0, 10.0, 1000.0]
    return {
        "seed": seed,
        "random_sample": state(seed).random_sample(20).tolist(),
        "standard_exponential": state(seed).standard_exponential(50).tolist(),
        "gauss": state(seed).standard_normal(51).tolist(),
        "normal": state(seed).normal(3.0, 0.7, 11).tolist(),
        "uniform": state(seed).uniform(-3.0, 7.5, 10).tolist(),
        "exponential": state(seed).exponential(0.3, 10).tolist(),
        "gamma": [[shape, state(seed).gamma(shape, 1.0 / (3.0 * shape), 60).tolist()] for shape in shapes],
        "mixed": [float(x) for x in mixed],
        "randint": state(seed).randint(0, 128_256, 50).tolist(),
        "randint_wide": state(seed).randint(-10, 2**40, 10).tolist(),
        "permutation": state(seed).permutation(50).tolist(),
        "shuffle_list": shuffled(state(seed), list(range(33))),
        "sample": frame.sample(n=30, random_state=seed)["a"].tolist(),
        "sample_replace": frame.sample(n=130, replace=True, random_state=seed)["a"].tolist(),
    }


def python(seed):
    rng = random.Random
    bits = rng(seed)
    items = list(range(33))
    rng(seed).shuffle(items)
    choice, below, between, uniform, doubles = (rng(seed) for _ in range(5))
    samples = [[100, 3], [100, 30], [10_000, 3], [10_000, 30], [21, 5], [22, 5], [85, 6], [86, 6], [0, 0], [7, 7]]
    return {
        "seed": seed,
        "random": [doubles.random() for _ in range(20)],
        "getrandbits": [[k, bits.getrandbits(k)] for k in [1, 5, 31, 32, 33, 48, 63, 64, 8, 32]],
        "randbelow": [[n, below._randbelow(n)] for n in [1, 2, 3, 10, 1000, 1024, 2**32, 2**40 + 1] * 3],
        "shuffle": items,
        "choice": [choice.choice(range(17)) for _ in range(30)],
        "choices": rng(seed).choices(range(17), k=30),
        "choices_weighted": rng(seed).choices(range(4), weights=[1.0, 0.5, 3.0, 0.25], k=30),
        "uniform": [uniform.uniform(-3.0, 7.5) for _ in range(10)],
        "randint": [between.randint(-3, 11) for _ in range(30)],
        "sample": [[n, k, rng(seed).sample(range(n), k)] for n, k in samples],
    }


golden = {
    "generator": [generator(seed) for seed in SEEDS + BIG_SEEDS],
    "legacy": [legacy(seed) for seed in SEEDS],
    "python": [python(seed) for seed in SEEDS + BIG_SEEDS],
}
path = pathlib.Path(__file__).with_name("random.json")
path.write_text(json.dumps(golden, separators=(",", ":")).replace('{"seed"', '\n{"seed"') + "\n")
