//! `inferometer check`: what works with a server, what does not, and how to fix it.

mod findings;
mod load;
mod settings;

use std::time::Duration;

use clap::Parser;
use inferometer_benchmark::check::{OUTPUT_TOKENS, check_tokens, send_both};
use inferometer_benchmark::{Ready, Silent, prepare};
use inferometer_campaign::{Identity, RunOutput, Settings, Start, World};

use self::findings::Findings;
use self::settings::{common_settings, run_with, target};
use super::sweep::{ExecutionSettings, Links, process_runner};
use crate::args::{CheckArgs, Cli, Command};
use crate::exit::{Exit, Failure, OrFail};
use crate::settings::RunSettings;
use inferometer_terminal::{Output, View};

/// Checks the server that `args` name.
pub(crate) fn check(args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let mut findings = Findings::new(output);
    checks(args, &mut findings)?;
    Ok(findings.conclude())
}

/// All checks in order; a check is skipped if it would fail for the same reason as an earlier one.
fn checks(args: &CheckArgs, findings: &mut Findings<'_>) -> Result<(), Failure> {
    let settings = ExecutionSettings {
        start: Start::Fresh,
        show_stdout: false,
        server_ready_timeout: Duration::ZERO,
        ui: View::Bar,
    };
    let mut runner = process_runner(&settings, Links::default())?;
    let identity = match runner.identify(&target(args)) {
        Ok(identity) => identity,
        Err(reason) => {
            findings.bad(
                "connection",
                reason,
                "start the server, correct --base-url, or grant access as described above",
            );
            return Ok(());
        }
    };
    if !report_identity(args, identity, findings) {
        return Ok(());
    }
    let common = common_settings(args);
    let Some(ready) = prepare_requests(&common, findings)? else {
        return Ok(());
    };
    let mut found = |finding| findings.add(finding);
    let Some(streamed) = send_both(&ready, &mut found)? else {
        return Ok(());
    };
    check_tokens(&ready, &streamed, &mut found);
    load::benchmarks(args.quick, &common, &mut runner, findings)
}

/// Reports the server's version and models; false if there is no model to check.
fn report_identity(args: &CheckArgs, identity: Identity, findings: &mut Findings<'_>) -> bool {
    let version = identity
        .version
        .map_or_else(String::new, |version| format!(", version {version}"));
    findings.good("connection", format!("{} answers{version}", args.base_url));
    match &identity.models {
        Some(models) if !models.is_empty() => {
            findings.good("models", format!("the server serves {}", models.join(", ")));
        }
        Some(_) | None if args.model.is_some() => {
            findings.note(
                "models",
                "no list at /v1/models",
                "the model's name cannot be checked; --model is used",
            );
        }
        Some(_) | None => {
            findings.bad(
                "models",
                "no list at /v1/models",
                "name the model with --model",
            );
            return false;
        }
    }
    true
}

/// Resolves model and tokenizer and prepares two requests; `None` when that is not possible.
fn prepare_requests(
    common: &Settings,
    findings: &mut Findings<'_>,
) -> Result<Option<Ready>, Failure> {
    let own = [
        ("random-input-len", 64),
        ("num-prompts", 2),
        ("random-output-len", OUTPUT_TOKENS),
    ];
    let work = run_with(common, &own, RunOutput::default());
    let Command::Run(parsed) = Cli::try_parse_from(work.words()).or_usage()?.command else {
        return Err(Failure::usage(
            "invalid command of the check: expected a run",
        ));
    };
    let settings = RunSettings::resolve(*parsed)?.benchmark;
    match prepare(&settings, &Silent) {
        Ok(ready) => {
            let model = &ready.model.request;
            match &ready.tokenizer_id {
                Some(id) if ready.tokenizer.is_some() => findings.good(
                    "model and tokenizer",
                    format!("model {model}, tokenizer {id}"),
                ),
                _ => findings.note(
                    "model and tokenizer",
                    format!("model {model}; {}", ready.warnings.join("; ")),
                    "name the model's tokenizer with --tokenizer for exact prompt lengths",
                ),
            }
            Ok(Some(ready))
        }
        Err(failure) => {
            findings.bad(
                "model and tokenizer",
                failure.report(),
                "correct --model or --tokenizer (--tokenizer builtin is always available)",
            );
            Ok(None)
        }
    }
}
