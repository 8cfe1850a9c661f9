//! `inferometer check`: what works with a server, what does not, and what to do about it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use clap::Parser;
use inferometer_campaign::{
    Cell, Ended, Finding as VerdictFinding, OURSELVES, Start, Talk, World, findings_of,
};
use inferometer_core::Record;
use inferometer_engine::{Plan, StopHandle, send_once};
use inferometer_results::{ImportedRun, read_result_summary};
use inferometer_wire::Wire;
use inferometer_workload::{HubSettings, Tokenizer, count_output_tokens};

use super::aggregate::align;
use super::run::describe_failure;
use super::sweep::{How, children};
use crate::args::{CheckArgs, Cli, Command, Ui};
use crate::exit::{Exit, Failure, OrFail};
use crate::output::Output;
use crate::prepare::{Ready, prepare};
use crate::settings::RunSettings;

/// Output tokens that the single requests ask for.
const ASKED: i64 = 32;
/// Tokens by which a server may count a prompt differently: those that mark its beginning and end.
const SPECIAL_TOKENS: u32 = 2;
/// Share by which two counts of an answer may differ: text that was cut at tokens does not always
/// give the same tokens again.
const ANSWER_TOLERANCE: f64 = 0.05;

/// Checks the server that `args` name.
pub(crate) fn check(args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let mut findings = Findings {
        output,
        list: Vec::new(),
    };
    checks(args, &mut findings)?;
    Ok(findings.conclude())
}

/// All checks in order; those that would fail for an earlier one's reason are not made.
fn checks(args: &CheckArgs, findings: &mut Findings<'_>) -> Result<(), Failure> {
    let how = How {
        start: Start::Fresh,
        show_stdout: false,
        server_ready_timeout: Duration::ZERO,
        ui: Ui::Bar,
    };
    let mut world = children(
        &how,
        Arc::new(AtomicUsize::new(0)),
        Vec::new(),
        Talk::default(),
    )?;
    let common = common(args);
    let cell = Cell {
        name: "check".to_owned(),
        command: common.clone(),
        ..Cell::default()
    };
    let identity = match world.identify(&cell) {
        Ok(identity) => identity,
        Err(reason) => {
            findings.bad(
                "connection",
                reason,
                "start the server, correct --base-url, or give access as told above",
            );
            return Ok(());
        }
    };
    let version = identity
        .version
        .map_or_else(String::new, |version| format!(", version {version}"));
    findings.good("connection", format!("{} answers{version}", args.base_url));
    match &identity.models {
        Some(models) if !models.is_empty() => {
            findings.good("models", format!("it serves {}", models.join(", ")));
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
            return Ok(());
        }
    }
    let run = [
        &common[..],
        &words("--random-input-len 64 --num-prompts 2 --no-run-folder --random-output-len"),
        &[ASKED.to_string()],
    ]
    .concat();
    let Command::Run(parsed) = Cli::try_parse_from(&run).or_usage()?.command else {
        return Err(Failure::usage("the check's own command is no run"));
    };
    let settings = RunSettings::resolve(*parsed)?;
    let ready = match prepare(&settings) {
        Ok(ready) => ready,
        Err(failure) => {
            let (_, error) = failure.into_parts();
            findings.bad(
                "model and tokenizer",
                format!("{error:#}"),
                "correct --model or --tokenizer (--tokenizer builtin is always there)",
            );
            return Ok(());
        }
    };
    findings.good(
        "model and tokenizer",
        format!("model {}, tokenizer loaded", ready.model.request),
    );
    let Some(streamed) = single_requests(&ready, findings)? else {
        return Ok(());
    };
    let spec = args
        .tokenizer
        .clone()
        .unwrap_or_else(|| args.model.clone().unwrap_or_else(|| ready.model.id.clone()));
    token_checks(&streamed, &args.backend, &spec, findings)?;
    benchmarks(args, &common, &mut world, findings)
}

/// The flags that all runs share.
fn common(args: &CheckArgs) -> Vec<String> {
    let mut common = vec![OURSELVES.to_owned(), "run".to_owned()];
    common.extend(["--backend", &args.backend, "--base-url", &args.base_url].map(str::to_owned));
    for (flag, value) in [
        ("--endpoint", &args.endpoint),
        ("--model", &args.model),
        ("--tokenizer", &args.tokenizer),
    ] {
        if let Some(value) = value {
            common.extend([flag.to_owned(), value.clone()]);
        }
    }
    if !args.header.is_empty() {
        common.push("--header".to_owned());
        common.extend(args.header.iter().cloned());
    }
    if args.insecure {
        common.push("--insecure".to_owned());
    }
    common.extend([
        "--ready-check-timeout-sec".to_owned(),
        args.ready_check_timeout_sec.to_string(),
    ]);
    common.extend(words("--dataset-name random --disable-tqdm"));
    common
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// One plain and one streamed request; the record of the streamed one if it went well.
fn single_requests(ready: &Ready, findings: &mut Findings<'_>) -> Result<Option<Record>, Failure> {
    let mut settings = ready.plan.wire.settings().clone();
    settings.body.stream = false;
    let plain = Wire::new(settings).or_usage()?;
    let request = plain.prepare(&ready.workload.requests[0]).or_usage()?;
    let plan = Plan {
        requests: Arc::clone(&ready.plan.requests),
        schedule: Arc::clone(&ready.plan.schedule),
        wire: plain,
        ..ready.plan.clone()
    };
    let stop = StopHandle::default();
    let record = send_once(&plan, std::slice::from_ref(&request), 1, &stop)
        .or_run()?
        .into_iter()
        .next();
    match record {
        Some(record) if record.is_ok() => {
            let ms = record
                .end
                .zip(record.send_start)
                .map(|(end, start)| end.since(start).as_millis_f64());
            findings.good(
                "plain request",
                format!("answered after {:.0} ms", ms.unwrap_or_default()),
            );
        }
        other => refused("plain request", other.as_ref(), findings),
    }
    let streamed = send_once(&ready.plan, &ready.plan.requests[1..2], 1, &stop)
        .or_run()?
        .into_iter()
        .next();
    match streamed {
        Some(record) if record.is_ok() => {
            let events = record.events.len();
            if events > 1 {
                findings.good("streamed request", format!("{events} events with output"));
            } else {
                findings.bad(
                    "streamed request",
                    format!("{events} event with output: the answer did not come as a stream"),
                    "look for a proxy that buffers (nginx: proxy_buffering off); without a stream TTFT and ITL mean nothing",
                );
            }
            Ok(Some(record))
        }
        other => {
            refused("streamed request", other.as_ref(), findings);
            Ok(None)
        }
    }
}

fn refused(name: &'static str, record: Option<&Record>, findings: &mut Findings<'_>) {
    let failure = record.map_or_else(|| "it was not sent".to_owned(), describe_failure);
    findings.bad(name, failure, advice(record));
}

fn advice(record: Option<&Record>) -> &'static str {
    match record.and_then(|record| record.status) {
        Some(401 | 403) => {
            "set OPENAI_API_KEY, or give the header that the server wants with --header"
        }
        Some(404) => {
            "the server does not know this path or model: correct --backend, --endpoint or --model"
        }
        Some(400 | 422) => {
            "the server does not take the request: leave fields out with --omit-field, or choose another --backend"
        }
        _ => "look into the server's log",
    }
}

/// Usage, tokenizer and ignore_eos, from one streamed answer.
fn token_checks(
    record: &Record,
    backend: &str,
    tokenizer: &str,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let (Some(prompt), Some(answer)) = (record.usage.prompt_tokens, record.usage.completion_tokens)
    else {
        findings.note(
            "usage",
            "the stream tells no token counts",
            "tokens are then counted with the tokenizer, which must be the model's own (--tokenizer)",
        );
        return Ok(());
    };
    findings.good(
        "usage",
        format!("{prompt} prompt tokens, {answer} answer tokens"),
    );
    let tokenizer = Tokenizer::load(tokenizer, &HubSettings::from_env()).or_usage()?;
    let counted = count_output_tokens(&tokenizer, &record.text)
        + count_output_tokens(&tokenizer, &record.other_text);
    let prompt_off = prompt.abs_diff(record.prompt_tokens);
    let answer_off = (counted as f64 - f64::from(answer)).abs();
    let told = format!(
        "prompt: server {prompt}, tokenizer {}; answer: server {answer}, tokenizer {counted}",
        record.prompt_tokens
    );
    // A chat template adds tokens, and how many only the server knows.
    let template = prompt.saturating_sub(record.prompt_tokens);
    let applies_template = inferometer_wire::backend::find(backend)
        .or_usage()?
        .applies_chat_template();
    let chat = applies_template && prompt >= record.prompt_tokens;
    let told = if chat && template > 0 {
        format!("{told} (the chat template adds {template})")
    } else {
        told
    };
    if prompt_off > SPECIAL_TOKENS && !chat {
        findings.bad(
            "tokenizer",
            told,
            "it is not the model's tokenizer, so that prompts have other lengths than asked for: correct --tokenizer",
        );
    } else if answer_off > 2.0 + ANSWER_TOLERANCE * f64::from(answer) {
        findings.note(
            "tokenizer",
            told,
            "prompts agree but answers do not; the server's own counts are used",
        );
    } else {
        findings.good("tokenizer", told);
    }
    if i64::from(answer) == ASKED {
        findings.good("ignore_eos", format!("{ASKED} tokens asked for and got"));
    } else {
        findings.note(
            "ignore_eos",
            format!("{ASKED} tokens asked for, {answer} got"),
            "answers have other lengths than asked for, so that runs differ in work: use a server that knows \
             ignore_eos or min_tokens (--extra-body), or compare tokens, not requests",
        );
    }
    Ok(())
}

/// A tiny benchmark, then rising rates, as child processes: exactly what `run` does.
fn benchmarks(
    args: &CheckArgs,
    common: &[String],
    world: &mut dyn World,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let folder = tempfile::tempdir().or_run()?;
    let tiny = words("--num-prompts 1 --random-input-len 10 --random-output-len 5");
    match bench(world, folder.path(), "tiny", common, &tiny) {
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
                "see the reason; inferometer run gives more detail",
            );
            return Ok(());
        }
    }
    let (rates, prompts): (&[u32], u32) = if args.quick {
        (&[5, 20], 10)
    } else {
        (&[1, 2, 5, 10, 20], 20)
    };
    let head = [
        "rate",
        "requests/s",
        "failed",
        "TTFT p50 ms",
        "TTFT p99 ms",
        "TPOT p50 ms",
        "verdict",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let mut worst: Option<String> = None;
    let mut invalid: Vec<(u32, VerdictFinding)> = Vec::new();
    for (index, rate) in rates.iter().enumerate() {
        let flags = words(&format!(
            "--request-rate {rate} --num-prompts {prompts} --random-input-len 64 --random-output-len 32 --seed {}",
            index + 1
        ));
        match bench(world, folder.path(), &format!("rate{rate}"), common, &flags) {
            Ok(run) => {
                let number = |key: &str| {
                    run.number(key)
                        .map_or("–".to_owned(), |number| format!("{number:.1}"))
                };
                let verdict = inferometer_campaign::verdict_of(&run).unwrap_or_default();
                let findings_here = findings_of(&run);
                if verdict == "INVALID" {
                    invalid.extend(
                        findings_here
                            .first()
                            .map(|finding| (*rate, finding.clone())),
                    );
                }
                let codes: Vec<&str> = findings_here
                    .iter()
                    .map(|finding| finding.code.as_str())
                    .collect();
                let verdict = format!("{verdict} {}", codes.join(", "))
                    .trim_end()
                    .to_owned();
                if run.number("failed").is_some_and(|failed| failed > 0.0) {
                    worst.get_or_insert(format!("requests fail at rate {rate}"));
                }
                table.push(vec![
                    rate.to_string(),
                    number("request_throughput"),
                    run.number("failed")
                        .map_or("–".to_owned(), |failed| failed.to_string()),
                    number("median_ttft_ms"),
                    number("p99_ttft_ms"),
                    number("median_tpot_ms"),
                    verdict,
                ]);
            }
            Err(reason) => {
                worst.get_or_insert(format!("the run at rate {rate} failed: {reason}"));
                table.push(vec![rate.to_string(), "failed".to_owned()]);
            }
        }
    }
    match worst {
        None => findings.good(
            "rates",
            format!("{prompts} requests at each of {rates:?} requests/s"),
        ),
        Some(reason) => findings.bad(
            "rates",
            reason,
            "lower the rate, or look into the server's log",
        ),
    }
    if let Some((rate, finding)) = invalid.first() {
        let told = format!("the run at rate {rate} is INVALID: {}", finding.code);
        findings.note("measuring", told, &finding.remedy);
    }
    findings.output.print(&align(&table));
    findings
        .output
        .say("  (so few requests show that it works, not how fast it is)");
    Ok(())
}

fn bench(
    world: &mut dyn World,
    folder: &Path,
    name: &str,
    common: &[String],
    flags: &[String],
) -> Result<ImportedRun, String> {
    let file = format!("{name}.json");
    let saving = [
        "--save-result",
        "--result-dir",
        &folder.display().to_string(),
        "--result-filename",
        &file,
        "--no-run-folder",
    ];
    let command = [common, flags, &saving.map(str::to_owned)].concat();
    match world.run(&command, &folder.join(format!("{name}.log"))) {
        Ended::Well => {}
        Ended::Interrupted => return Err("interrupted".to_owned()),
        Ended::Failed(reason) => return Err(reason),
    }
    let runs = read_result_summary(&folder.join(file)).map_err(|error| error.to_string())?;
    runs.into_iter()
        .next()
        .ok_or_else(|| "it left no result".to_owned())
}

/// What was found so far; each is told at once.
struct Findings<'a> {
    output: &'a Output,
    list: Vec<Finding>,
}

struct Finding {
    what: &'static str,
    level: Level,
    remedy: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Note,
    Bad,
}

impl Findings<'_> {
    fn good(&mut self, what: &'static str, told: impl AsRef<str>) {
        self.add(what, Level::Good, told.as_ref(), None);
    }

    fn note(&mut self, what: &'static str, told: impl AsRef<str>, remedy: &str) {
        self.add(what, Level::Note, told.as_ref(), Some(remedy.to_owned()));
    }

    fn bad(&mut self, what: &'static str, told: impl AsRef<str>, remedy: &str) {
        self.add(what, Level::Bad, told.as_ref(), Some(remedy.to_owned()));
    }

    fn add(&mut self, what: &'static str, level: Level, told: &str, remedy: Option<String>) {
        let word = match level {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Bad => "FAILED",
        };
        self.output.say(&format!("{word:<7}{what:<20} {told}"));
        self.list.push(Finding {
            what,
            level,
            remedy,
        });
    }

    fn conclude(&self) -> Exit {
        let count = |level| {
            self.list
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let (good, bad) = (count(Level::Good), count(Level::Bad));
        self.output
            .say(&format!("\n{good} of {} checks are good.", self.list.len()));
        for finding in &self.list {
            if let Some(remedy) = &finding.remedy {
                let word = if finding.level == Level::Bad {
                    "fix"
                } else {
                    "note"
                };
                self.output
                    .say(&format!("  {word}: {}: {remedy}", finding.what));
            }
        }
        if bad > 0 { Exit::RunFailed } else { Exit::Good }
    }
}
