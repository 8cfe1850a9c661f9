//! How fast tokenizers load and prompts are made, on one core:
//! `cargo run --release -p inferometer-workload --example speed -- TOKENIZER`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints"
)]

use std::time::Duration;

use inferometer_os::clock;
use inferometer_workload::{
    Compat, DatasetSettings, HubSettings, RandomSettings, Tokenizer, WorkloadSettings, build,
};

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = clock::now();
    let result = work();
    (result, clock::now().since(start).to_duration())
}

fn main() {
    let spec = std::env::args().nth(1).unwrap_or_else(|| "builtin".into());
    let hub = HubSettings::from_env();
    let best = (0..10)
        .map(|_| timed(|| Tokenizer::load(&spec, &hub).unwrap()).1)
        .min()
        .unwrap();
    println!("load            {:8.2} ms", best.as_secs_f64() * 1e3);
    let (tokenizer, first) = timed(|| Tokenizer::load(&spec, &hub).unwrap());
    println!("load again      {:8.2} ms", first.as_secs_f64() * 1e3);

    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    for (compat, count) in [
        (Compat::Native, 20),
        (Compat::Native, 20_000),
        (Compat::Vllm, 400),
    ] {
        let options = RandomSettings {
            input_len: 1024,
            ..RandomSettings::default()
        };
        let settings = WorkloadSettings {
            num_prompts: count,
            compat,
            ..WorkloadSettings::new(DatasetSettings::Random(options))
        };
        let (workload, time) =
            timed(|| pool.install(|| build(&settings, Some(&tokenizer), &|_, _| {}).unwrap()));
        let rate = workload.requests.len() as f64 / time.as_secs_f64();
        println!(
            "random {compat:?} {count:6} x 1024 tokens: {:8.2} ms, {rate:.0}/s",
            time.as_secs_f64() * 1e3
        );
    }
    let text =
        "The quick brown fox jumps over the lazy dog, doesn't it? In 2024 it did 17 times.\n"
            .repeat(2000);
    let (tokens, time) = timed(|| tokenizer.count(&text, false));
    println!(
        "count: {tokens} tokens of {} kB in {:.2} ms: {:.1} MB/s",
        text.len() / 1000,
        time.as_secs_f64() * 1e3,
        text.len() as f64 / time.as_secs_f64() / 1e6
    );
}
