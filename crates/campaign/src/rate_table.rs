//! Runs at rising rates as a table, for a quick check of a server.

use inferometer_results::ImportedRun;

use crate::verdict::{Finding, findings_of, verdict_of};

/// Heads of the columns.
const HEAD: [&str; 7] = [
    "rate",
    "requests/s",
    "failed",
    "TTFT p50 ms",
    "TTFT p99 ms",
    "TPOT p50 ms",
    "verdict",
];

/// The runs at all rates.
#[derive(Debug, Default)]
pub struct RateTable {
    rows: Vec<Vec<String>>,
    /// Why the first run failed that did, or in which requests failed.
    pub failure: Option<String>,
    /// The first run that is INVALID.
    pub invalid: Option<InvalidRun>,
}

/// A run that is INVALID.
#[derive(Debug)]
pub struct InvalidRun {
    /// Its rate, in requests per second.
    pub rate: u64,
    /// Its worst finding.
    pub finding: Finding,
}

impl RateTable {
    /// Adds the run at `rate`, or why there is none.
    pub fn add(&mut self, rate: u64, run: Result<ImportedRun, String>) {
        let run = match run {
            Ok(run) => run,
            Err(reason) => {
                self.failure
                    .get_or_insert(format!("the run at rate {rate} failed: {reason}"));
                self.rows.push(vec![rate.to_string(), "failed".to_owned()]);
                return;
            }
        };
        let number = |key: &str| {
            run.number(key)
                .map_or("–".to_owned(), |number| format!("{number:.1}"))
        };
        let failed = run.number("failed");
        if failed.is_some_and(|failed| failed > 0.0) {
            self.failure
                .get_or_insert(format!("requests fail at rate {rate}"));
        }
        let level = verdict_of(&run).unwrap_or_default();
        let findings = findings_of(&run);
        let codes: Vec<&str> = findings.iter().map(|finding| &*finding.code).collect();
        let verdict = format!("{level} {}", codes.join(", "));
        self.rows.push(vec![
            rate.to_string(),
            number("request_throughput"),
            failed.map_or("–".to_owned(), |failed| failed.to_string()),
            number("median_ttft_ms"),
            number("p99_ttft_ms"),
            number("median_tpot_ms"),
            verdict.trim_end().to_owned(),
        ]);
        if level == "INVALID"
            && self.invalid.is_none()
            && let Some(finding) = findings.into_iter().next()
        {
            self.invalid = Some(InvalidRun { rate, finding });
        }
    }

    /// The cells, the heads first.
    pub fn cells(self) -> Vec<Vec<String>> {
        let mut table = vec![HEAD.map(str::to_owned).to_vec()];
        table.extend(self.rows);
        table
    }
}
