//! The compatible generators against what NumPy and CPython really draw.
//!
//! `golden/random.json` is written by `golden/make_random.py`.

use inferometer_core::random::{NumpyGenerator, NumpyLegacy, PythonRandom};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    generator: Vec<Generator>,
    legacy: Vec<Legacy>,
    python: Vec<Python>,
}

#[derive(Deserialize)]
struct Generator {
    seed: u64,
    raw: Vec<u64>,
    random: Vec<f64>,
    uniform: Vec<f64>,
    integers: Vec<i64>,
    integers_even: Vec<i64>,
    integers_u32: Vec<i64>,
    integers_full: Vec<i64>,
    mixed: Vec<i64>,
    u8_full: Vec<u8>,
    u8_part: Vec<u8>,
    choice: Vec<usize>,
    permutation: Vec<usize>,
    shuffle_list: Vec<usize>,
}

#[derive(Deserialize)]
struct Legacy {
    seed: u32,
    random_sample: Vec<f64>,
    standard_exponential: Vec<f64>,
    gauss: Vec<f64>,
    normal: Vec<f64>,
    uniform: Vec<f64>,
    exponential: Vec<f64>,
    gamma: Vec<(f64, Vec<f64>)>,
    mixed: Vec<f64>,
    randint: Vec<i64>,
    randint_wide: Vec<i64>,
    permutation: Vec<usize>,
    shuffle_list: Vec<usize>,
    sample: Vec<usize>,
    sample_replace: Vec<usize>,
}

#[derive(Deserialize)]
struct Python {
    seed: u64,
    random: Vec<f64>,
    getrandbits: Vec<(u32, u64)>,
    randbelow: Vec<(usize, usize)>,
    shuffle: Vec<usize>,
    choice: Vec<usize>,
    choices: Vec<usize>,
    choices_weighted: Vec<usize>,
    uniform: Vec<f64>,
    randint: Vec<i64>,
    sample: Vec<(usize, usize, Vec<usize>)>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/random.json"))
        .expect("the golden file fits the structs above")
}

fn draw<T>(n: usize, mut one: impl FnMut() -> T) -> Vec<T> {
    (0..n).map(|_| one()).collect()
}

#[test]
fn numpy_default_rng_draws_the_same_numbers() {
    for want in golden().generator {
        let seed = want.seed;
        let new = || NumpyGenerator::new(seed);
        let mut rng = new();
        assert_eq!(draw(5, || rng.next_u64()), want.raw, "raw, seed {seed}");
        let mut rng = new();
        assert_eq!(
            draw(20, || rng.random()),
            want.random,
            "random, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(10, || rng.uniform(-3.0, 7.5)),
            want.uniform,
            "uniform, seed {seed}"
        );
        assert_eq!(
            new().integers_vec(0, 128_256, 50),
            want.integers,
            "integers, seed {seed}"
        );
        assert_eq!(
            new().integers_vec(0, 4, 9),
            want.integers_even,
            "a power of two, seed {seed}"
        );
        assert_eq!(
            new().integers_vec(0, 1 << 32, 9),
            want.integers_u32,
            "all of 32 bits, seed {seed}"
        );
        let mut rng = new();
        // `high` is exclusive here, so all of 64 bits is not expressible; the raw draw shifted is
        // the same.
        let full = draw(9, || (rng.next_u64() ^ (1 << 63)) as i64);
        assert_eq!(full, want.integers_full, "all of 64 bits, seed {seed}");
        let mut rng = new();
        let mut mixed = Vec::new();
        for _ in 0..20 {
            mixed.push(rng.integers(0, 1000));
            mixed.push(rng.integers(-5, 1 << 40));
            mixed.push(rng.integers(7, 8));
            mixed.push(rng.integers(0, 3_000_000_000));
        }
        assert_eq!(
            mixed, want.mixed,
            "32-bit halves kept across 64-bit draws, seed {seed}"
        );
        assert_eq!(
            new().integers_u8(0, 256, 30),
            want.u8_full,
            "bytes, seed {seed}"
        );
        assert_eq!(
            new().integers_u8(3, 203, 50),
            want.u8_part,
            "bytes in a range, seed {seed}"
        );
        let mut rng = new();
        let p = [0.5, 0.25, 0.125, 0.1, 0.025];
        assert_eq!(
            draw(40, || rng.choice_weighted(&p)),
            want.choice,
            "choice, seed {seed}"
        );
        assert_eq!(
            new().permutation(50),
            want.permutation,
            "permutation, seed {seed}"
        );
        let mut items: Vec<usize> = (0..33).collect();
        new().shuffle(&mut items);
        assert_eq!(items, want.shuffle_list, "shuffle, seed {seed}");
    }
}

#[test]
fn numpy_legacy_draws_the_same_numbers() {
    for want in golden().legacy {
        let seed = want.seed;
        let new = || NumpyLegacy::new(seed);
        let mut rng = new();
        assert_eq!(
            draw(20, || rng.random_sample()),
            want.random_sample,
            "random_sample, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(50, || rng.standard_exponential()),
            want.standard_exponential,
            "seed {seed}"
        );
        let mut rng = new();
        assert_eq!(draw(51, || rng.gauss()), want.gauss, "gauss, seed {seed}");
        let mut rng = new();
        assert_eq!(
            draw(11, || rng.normal(3.0, 0.7)),
            want.normal,
            "normal, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(10, || rng.uniform(-3.0, 7.5)),
            want.uniform,
            "uniform, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(10, || rng.exponential(0.3)),
            want.exponential,
            "exponential, seed {seed}"
        );
        for (shape, values) in want.gamma {
            let mut rng = new();
            let got = draw(60, || rng.gamma(shape, 1.0 / (3.0 * shape)));
            assert_eq!(got, values, "gamma of shape {shape}, seed {seed}");
        }
        let mut rng = new();
        let mut mixed = Vec::new();
        for _ in 0..10 {
            mixed.push(rng.gamma(2.5, 0.4));
            mixed.push(rng.gauss());
            mixed.push(rng.gamma(0.3, 2.0));
            mixed.push(rng.standard_exponential());
            mixed.push(rng.random_sample());
        }
        assert_eq!(mixed, want.mixed, "one state for all draws, seed {seed}");
        assert_eq!(
            new().randint_vec(0, 128_256, 50),
            want.randint,
            "randint, seed {seed}"
        );
        assert_eq!(
            new().randint_vec(-10, 1 << 40, 10),
            want.randint_wide,
            "wide randint, seed {seed}"
        );
        assert_eq!(
            new().permutation(50),
            want.permutation,
            "permutation, seed {seed}"
        );
        let mut items: Vec<usize> = (0..33).collect();
        new().shuffle(&mut items);
        assert_eq!(items, want.shuffle_list, "shuffle, seed {seed}");
        assert_eq!(
            new().choice(100, 30, false),
            want.sample,
            "pandas sample, seed {seed}"
        );
        assert_eq!(
            new().choice(100, 130, true),
            want.sample_replace,
            "sample with replacement, seed {seed}"
        );
    }
}

#[test]
fn python_random_draws_the_same_numbers() {
    for want in golden().python {
        let seed = want.seed;
        let new = || PythonRandom::new(seed);
        let mut rng = new();
        assert_eq!(
            draw(20, || rng.random()),
            want.random,
            "random, seed {seed}"
        );
        let mut rng = new();
        for (bits, value) in want.getrandbits {
            assert_eq!(
                rng.getrandbits(bits),
                value,
                "getrandbits({bits}), seed {seed}"
            );
        }
        let mut rng = new();
        for (n, value) in want.randbelow {
            assert_eq!(rng.randbelow(n), value, "randbelow({n}), seed {seed}");
        }
        let mut items: Vec<usize> = (0..33).collect();
        new().shuffle(&mut items);
        assert_eq!(items, want.shuffle, "shuffle, seed {seed}");
        let mut rng = new();
        let range: Vec<usize> = (0..17).collect();
        assert_eq!(
            draw(30, || *rng.choice(&range)),
            want.choice,
            "choice, seed {seed}"
        );
        assert_eq!(new().choices(17, 30), want.choices, "choices, seed {seed}");
        let weighted = new().choices_weighted(&[1.0, 0.5, 3.0, 0.25], 30);
        assert_eq!(
            weighted, want.choices_weighted,
            "weighted choices, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(10, || rng.uniform(-3.0, 7.5)),
            want.uniform,
            "uniform, seed {seed}"
        );
        let mut rng = new();
        assert_eq!(
            draw(30, || rng.randint(-3, 11)),
            want.randint,
            "randint, seed {seed}"
        );
        for (n, k, values) in want.sample {
            assert_eq!(new().sample(n, k), values, "sample({n}, {k}), seed {seed}");
        }
    }
}
