//! Any bytes as a result file, record log or table are either read or rejected; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use inferometer_results::{read_log, read_parquet, read_result};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    for (name, kind) in [("r.json", 0), ("r.jsonl", 0), ("r.csv", 0), ("r.arrows", 1), ("r.parquet", 2)] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        match kind {
            0 => drop(read_result(&path)),
            1 => drop(read_log(&path)),
            _ => drop(read_parquet(&path)),
        }
    }
});
