//! How long 10,000 result files take to become one table:
//! `cargo bench -p inferometer-results --bench aggregate`.

use std::fs;

use divan::Bencher;
use inferometer_results::{Links, aggregate, find_result_files};

const VLLM: &str = include_str!(
    "../tests/data/vllm/mylabel-ramp-up-linear-5qps-20qps-truth-model-20261124-040053.json"
);
const OURS: &str = include_str!("../tests/data/inferometer/simulated-8-slots.json");

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ten_thousand_files_of_vllm_to_csv(bencher: Bencher<'_, '_>) {
    ten_thousand(bencher, VLLM);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ten_thousand_files_of_inferometer_to_csv(bencher: Bencher<'_, '_>) {
    ten_thousand(bencher, OURS);
}

fn ten_thousand(bencher: Bencher<'_, '_>, result: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for i in 0..10_000 {
        let path = folder.path().join(format!("bench_io{i}x64_mc4_np40.json"));
        fs::write(path, result).expect("room for 70 MB");
    }
    let (csv, parquet) = (
        folder.path().join("aggregate_results.csv"),
        folder.path().join("aggregate_results.parquet"),
    );
    bencher.bench(|| {
        let table = aggregate(&find_result_files(folder.path()).expect("the folder can be read"));
        assert_eq!(table.rows.len(), 10_000);
        table
            .write_csv(&csv, Links::Replace)
            .expect("room for the table");
        table
            .write_parquet(&parquet, Links::Replace)
            .expect("room for the table");
    });
}
