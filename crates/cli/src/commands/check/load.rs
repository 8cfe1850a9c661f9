//! A tiny benchmark, then rising rates, as child processes: exactly what `run` does.

use std::path::Path;

use inferometer_campaign::{
    Exit, InvalidRun, RateTable, RunFolder, RunOutput, Settings, Work, World,
};
use inferometer_results::{ImportedRun, read_result_summary};

use super::findings::Findings;
use super::settings::run_with;
use crate::exit::{Failure, OrFail};
use inferometer_terminal::align;

/// Runs all benchmarks; if the tiny one fails, the rates are skipped.
pub(super) fn benchmarks(
    quick: bool,
    common: &Settings,
    world: &mut dyn World,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let folder = tempfile::tempdir().or_failure()?;
    let mut bench = Bench {
        folder: folder.path(),
        common,
        world,
    };
    let tiny = [
        ("num-prompts", 1),
        ("random-input-len", 10),
        ("random-output-len", 5),
    ];
    match bench.run("tiny", &tiny) {
        Ok(run) => findings.good(
            "tiny benchmark",
            format!(
                "1 request in {:.2} s",
                run.number("duration").unwrap_or_default()
            ),
        ),
        Err(reason) => {
            findings.bad(
                "tiny benchmark",
                reason,
                "fix the cause; inferometer run prints more details",
            );
            return Ok(());
        }
    }
    let (rates, prompts): (&[u64], u64) = if quick {
        (&[5, 20], 10)
    } else {
        (&[1, 2, 5, 10, 20], 20)
    };
    let mut table = RateTable::default();
    for (&rate, seed) in rates.iter().zip(1..) {
        let own = [
            ("request-rate", rate),
            ("num-prompts", prompts),
            ("random-input-len", 64),
            ("random-output-len", 32),
            ("seed", seed),
        ];
        table.add(rate, bench.run(&format!("rate{rate}"), &own));
    }
    let good = format!("{prompts} requests at each of {rates:?} requests/s");
    report(table, &good, findings);
    Ok(())
}

/// Runs benchmarks and reads their results.
struct Bench<'a> {
    folder: &'a Path,
    common: &'a Settings,
    world: &'a mut dyn World,
}

impl Bench<'_> {
    fn run(&mut self, name: &str, own: &[(&str, u64)]) -> Result<ImportedRun, String> {
        let result = self.folder.join(format!("{name}.json"));
        let output = RunOutput {
            result: Some(result.clone()),
            run_folder: RunFolder::None,
        };
        let work: Work = run_with(self.common, own, output);
        match self.world.run(&work, &result.with_extension("log")) {
            Exit::Success => {}
            Exit::Interrupted => return Err("interrupted".to_owned()),
            Exit::Failed(reason) => return Err(reason),
        }
        let runs = read_result_summary(&result).map_err(|error| error.to_string())?;
        runs.into_iter()
            .next()
            .ok_or_else(|| "no result was written".to_owned())
    }
}

/// Reports the rates; `good` is what to say when nothing failed.
fn report(table: RateTable, good: &str, findings: &mut Findings<'_>) {
    match &table.failure {
        None => findings.good("rates", good),
        Some(reason) => {
            findings.bad("rates", reason, "lower the rate, or see the server's log");
        }
    }
    if let Some(InvalidRun { rate, finding }) = &table.invalid {
        let detail = format!("the run at rate {rate} is INVALID: {}", finding.code);
        findings.note("measuring", detail, &finding.remedy);
    }
    findings.print(&align(&table.cells()));
    findings.print_line("  (these few requests show that the server works, not how fast it is)");
}
