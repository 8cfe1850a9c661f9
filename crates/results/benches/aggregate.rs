//! How long 10,000 result files take to become one table.

use std::fs;
use std::path::PathBuf;

use divan::Bencher;
use servebench_results::{aggregate, find_result_files};

const RESULT: &str =
    include_str!("../tests/data/vllm/mylabel-ramp-up-linear-5qps-20qps-truth-model-20261124-040053.json");

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ten_thousand_files_to_csv(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for i in 0..10_000 {
        let path: PathBuf = folder.path().join(format!("bench_io{i}x64_mc4_np40.json"));
        fs::write(path, RESULT).expect("room for 30 MB");
    }
    let csv = folder.path().join("aggregate_results.csv");
    bencher.bench(|| {
        let table = aggregate(&find_result_files(folder.path()).expect("the folder can be read"));
        assert_eq!(table.rows.len(), 10_000);
        table.write_csv(&csv).expect("room for the table");
    });
}
