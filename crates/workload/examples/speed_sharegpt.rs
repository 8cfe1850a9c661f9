//! How fast a large ShareGPT file is read, and how much memory that takes:
//! `cargo run --release -p inferometer-workload --example speed_sharegpt -- FILE [TOKENIZER]`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints"
)]

use inferometer_os::clock;
use inferometer_workload::{
    DatasetSettings, HubSettings, ShareGptSettings, Tokenizer, WorkloadSettings, build,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let tokenizer = Tokenizer::load(
        &args.next().unwrap_or_else(|| "builtin".into()),
        &HubSettings::from_env(),
    );
    let dataset = DatasetSettings::ShareGpt(ShareGptSettings {
        path: path.clone().into(),
        ..ShareGptSettings::default()
    });
    let settings = WorkloadSettings {
        num_prompts: 0,
        ..WorkloadSettings::new(dataset)
    };
    let start = clock::now();
    let workload = build(&settings, Some(&tokenizer.unwrap()), &|_, _| {}).unwrap();
    let seconds = clock::now().since(start).as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM unknown");
    println!(
        "{} requests of {} MB in {seconds:.2} s; peak {}",
        workload.requests.len(),
        std::fs::metadata(path).unwrap().len() / 1_000_000,
        peak.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    );
}
