//! Many results as one table.

use std::fs;
use std::path::Path;

use inferometer_results::{BenchName, Links, aggregate, find_result_files};

const RAMP: &str =
    include_str!("../data/vllm/mylabel-ramp-up-linear-5qps-20qps-truth-model-20261124-040053.json");

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_folder_becomes_a_table_and_a_broken_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let minimal = r#"{"duration": 2.0, "completed": 3, "request_throughput": 1e-05, "total_input_tokens": 6, "request_rate": 4.0, "inferometer": {"verdict": {"level": "VALID"}, "list": [1, 2.0]}, "note": "a, \"b\""}"#;
    put(folder.path(), "bench_io128x64_mc4_np40.json", RAMP);
    put(folder.path(), "sub/b.json", minimal);
    put(folder.path(), "broken.json", "{");
    for other in [
        "manifest.json",
        "a.pytorch.json",
        "sub/summary.json",
        "aggregate_results.csv",
        "x.failure.json",
        "notes.txt",
    ] {
        put(folder.path(), other, "{");
    }
    let files = find_result_files(folder.path()).unwrap();
    assert_eq!(files.len(), 3);
    let table = aggregate(&files);
    assert_eq!(table.rows.len(), 2);
    assert_eq!(table.broken.len(), 1);
    assert!(table.broken[0].to_string().contains("broken.json"));
    assert_eq!(table.columns[0], "date");
    assert_eq!(
        table.columns[table.columns.len() - 3..],
        ["input_len", "output_len", "filename"]
    );
    assert!(!table.columns.iter().any(|column| column == "latencies"));

    let path = folder.path().join("aggregate_results.csv");
    table.write_csv(&path, Links::Replace).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let cell = |row: usize, column: &str| {
        rows[row][header.iter().position(|name| name == column).unwrap()].to_owned()
    };
    assert_eq!(cell(0, "input_len"), "128");
    assert_eq!(cell(0, "output_len"), "64");
    assert_eq!(cell(0, "filename"), "bench_io128x64_mc4_np40.json");
    assert_eq!(cell(0, "request_rate"), "inf");
    assert_eq!(cell(0, "burstiness"), "1.0");
    assert_eq!(cell(0, "max_concurrency"), "");
    assert_eq!(cell(1, "request_throughput"), "1e-05");
    assert_eq!(cell(1, "inferometer.verdict.level"), "VALID");
    assert_eq!(cell(1, "inferometer.list"), "[1, 2.0]");
    assert_eq!(cell(1, "note"), "a, \"b\"");
    assert_eq!(cell(1, "input_len"), "");

    let path = folder.path().join("aggregate_results.parquet");
    table.write_parquet(&path, Links::Replace).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        fs::File::open(path).unwrap(),
    );
    let schema = reader.unwrap().schema().clone();
    let kind = |name: &str| {
        schema
            .field_with_name(name)
            .unwrap()
            .data_type()
            .to_string()
    };
    assert_eq!(
        (kind("completed"), kind("request_rate")),
        ("Int64".to_owned(), "Float64".to_owned())
    );
    assert_eq!(kind("note"), "Utf8");
}

#[test]
fn an_empty_folder_gives_an_empty_table() {
    let folder = tempfile::tempdir().unwrap();
    let table = aggregate(&find_result_files(folder.path()).unwrap());
    assert!(table.rows.is_empty() && table.broken.is_empty());
    table
        .write_csv(&folder.path().join("a.csv"), Links::Replace)
        .unwrap();
    table
        .write_parquet(&folder.path().join("a.parquet"), Links::Replace)
        .unwrap();
    assert!(find_result_files(&folder.path().join("none")).is_err());
}

#[test]
fn sweep_names_are_written_and_parsed() {
    let name = "bench_io512x256_mc16_np160.json";
    let bench = BenchName::parse(name).unwrap();
    assert_eq!(
        (
            bench.input_len,
            bench.output_len,
            bench.concurrency,
            bench.num_prompts
        ),
        (512, 256, 16, 160)
    );
    assert_eq!(bench.to_string(), name);
    for odd in [
        "bench_io512_mc1_np1.json",
        "bench_io1x2_mc+3_np4.json",
        "bench_io1x2_mc3_np4",
        "io1x2_mc3_np4.json",
        "bench_ioxx_mc_np.json",
    ] {
        assert_eq!(BenchName::parse(odd), None, "{odd}");
    }
}

/// A benchmark's result with this duration and these further keys.
fn result(duration: f64, more: &str) -> String {
    format!(
        r#"{{"duration": {duration}, "completed": 3, "request_throughput": 1.5, "total_input_tokens": 6{more}}}"#
    )
}

#[test]
fn equal_names_in_different_folders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "all/a/x.json", &result(1.0, ""));
    put(folder.path(), "all/b/x.json", &result(2.0, ""));
    put(folder.path(), "all/b/y.json", &result(3.0, ""));
    let names = |folder: &Path| -> Vec<String> {
        let table = aggregate(&find_result_files(folder).unwrap());
        let name =
            |row: &inferometer_results::Row| row.values["filename"].as_str().unwrap().to_owned();
        table.rows.iter().map(name).collect()
    };
    assert_eq!(names(folder.path()), ["a/x.json", "b/x.json", "b/y.json"]);
    assert_eq!(names(&folder.path().join("all/b")), ["x.json", "y.json"]);
}

/// A spreadsheet runs a cell that begins like a formula; numbers begin with a minus as well.
#[test]
fn text_that_looks_like_a_formula_is_marked_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let more = r#", "label": "=HYPERLINK(\"http://x\")", "note": "@SUM(A1)", "minus": "-5.5", "number": -5.5, "plus": "+cmd""#;
    put(folder.path(), "x.json", &result(1.0, more));
    let path = folder.path().join("table.csv");
    let table = aggregate(&find_result_files(folder.path()).unwrap());
    table.write_csv(&path, Links::Replace).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    for (column, cell) in [
        ("label", "'=HYPERLINK(\"http://x\")"),
        ("note", "'@SUM(A1)"),
        ("minus", "-5.5"),
        ("number", "-5.5"),
        ("plus", "'+cmd"),
    ] {
        let place = header.iter().position(|name| name == column).unwrap();
        assert_eq!(&row[place], cell, "{column}");
    }
}

#[test]
fn an_imported_result_beside_its_source_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "r1.json", &result(1.0, ""));
    put(folder.path(), "r2.json", &result(2.0, ""));
    for (name, duration) in [("r1", 1.0), ("r2", 2.0)] {
        let source = format!(r#", "inferometer": {{"imported_from": {{"file": "{name}.json"}}}}"#);
        put(
            folder.path(),
            &format!("imported/{name}.json"),
            &result(duration, &source),
        );
    }
    let table = aggregate(&find_result_files(folder.path()).unwrap());
    assert_eq!((table.rows.len(), table.duplicates.len()), (2, 2));
    assert!(table.duplicates[0].file.ends_with("imported/r1.json"));
    assert!(table.duplicates[0].of.ends_with("r1.json"));
}

/// A full disk cuts the last line of `--append-result`; what it holds before that is read.
#[test]
fn a_last_line_that_is_cut_off_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        r#"{"duration": 2.0, "completed": 3, "total_input_tokens": 6, "request_throughput": 1.5}"#;
    let other = line.replace("2.0", "3.0");
    put(
        folder.path(),
        "cut.jsonl",
        &format!("{line}\n{other}\n{}", &line[..30]),
    );
    put(
        folder.path(),
        "middle.jsonl",
        &format!("{line}\n{}\n{line}", &line[..30]),
    );
    let table = aggregate(&find_result_files(folder.path()).unwrap());
    assert_eq!((table.rows.len(), table.cut_off.len()), (2, 1));
    let problem = table.cut_off[0].to_string();
    assert!(
        problem.contains("cut.jsonl: not JSON: line 3: "),
        "{problem}"
    );
    let problem = table.broken[0].to_string();
    assert!(
        problem.contains("middle.jsonl: not JSON: line 2: "),
        "{problem}"
    );
}
