//! `inferometer selftest`: the limits of the client on this host, measured against the built-in
//! simulator.

use std::fmt::Write as _;
use std::path::PathBuf;

use inferometer_benchmark::SelfTest;
use inferometer_benchmark::ceiling::{Ceiling, Tail, kept_at};
use inferometer_engine::StopHandle;
use inferometer_terminal::{Output, on_interrupt};

use super::report::NO_VIEW;
use crate::args::SelftestArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::watch::Watch;

/// Measures, prints and saves the ceiling.
pub(crate) fn selftest(args: &SelftestArgs, output: &Output) -> Result<Exit, Failure> {
    let stop = StopHandle::default();
    // The simulator is a child process, which must not be left behind.
    let _interrupts = on_interrupt(stop.clone(), output);
    let program = std::env::current_exe().or_failure()?;
    let test = SelfTest {
        program: &program,
        quick: args.quick,
        max_streams: args.max_streams,
        stop: &stop,
    };
    let ceiling = test.measure(&Watch::new(output, NO_VIEW))?;
    output.print(&table(&ceiling));
    save(&ceiling, args, output)?;
    Ok(Exit::Good)
}

fn table(ceiling: &Ceiling) -> String {
    let mut text = String::from("\n");
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<44} {value}");
    };
    let tail = |tail: &Tail| {
        format!(
            "p50 {:.3}  p99 {:.3}  max {:.3}",
            tail.p50, tail.p99, tail.max
        )
    };
    row(
        "Send lateness at 500 req/s (ms):",
        tail(&ceiling.lateness_ms),
    );
    row(
        "Highest request rate (req/s):",
        format!("{:.0}", ceiling.requests_per_s),
    );
    row(
        "Highest event rate (events/s):",
        format!("{:.0}", ceiling.events_per_s),
    );
    row(
        "Open streams:",
        format!(
            "{} (limited by {})",
            ceiling.open_streams, ceiling.streams_limited_by
        ),
    );
    row("Stamp error (ms):", tail(&ceiling.stamp_error_ms));
    row(
        "Stamps by:",
        if ceiling.kernel_stamps {
            "the kernel"
        } else {
            "the process"
        }
        .to_owned(),
    );
    text
}

fn save(ceiling: &Ceiling, args: &SelftestArgs, output: &Output) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(ceiling).or_failure()? + "\n";
    let write = |path: &PathBuf| {
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, &text))
    };
    if let Some(path) = &args.json {
        write(path).or_failure()?;
    }
    let Some(path) = kept_at() else { return Ok(()) };
    match write(&path) {
        Ok(()) => output.print_line(&format!(
            "Saved in {}; later runs are compared with it.",
            path.display()
        )),
        Err(error) => output.warn(&format!("{}: not saved: {error}", path.display())),
    }
    Ok(())
}
