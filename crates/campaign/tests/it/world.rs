//! A world in which every run takes ten seconds and its numbers follow from its command.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use inferometer_campaign::{
    Campaign, Exit, Flag, FlagKind, FlagTable, Identity, ServerSpec, SweepOptions, Target, Work,
    World, sweep_campaign,
};
use serde_json::json;

/// Some flags of `run`.
pub(crate) fn flags() -> FlagTable {
    let one = [
        "backend",
        "base-url",
        "model",
        "tokenizer",
        "num-prompts",
        "request-rate",
        "max-concurrency",
        "seed",
        "random-input-len",
        "random-output-len",
        "extra-body",
        "result-dir",
        "burstiness",
        "label",
    ];
    let mut flags: Vec<Flag> = one
        .iter()
        .map(|name| Flag {
            name: (*name).to_owned(),
            kind: FlagKind::One,
            simulated: false,
        })
        .collect();
    flags.push(Flag {
        name: "ignore-eos".to_owned(),
        kind: FlagKind::Switch,
        simulated: false,
    });
    flags.push(Flag {
        name: "preset".to_owned(),
        kind: FlagKind::One,
        simulated: true,
    });
    flags.push(Flag {
        name: "goodput".to_owned(),
        kind: FlagKind::Many,
        simulated: false,
    });
    FlagTable(flags)
}

pub(crate) fn campaign_of(
    folder: &Path,
    name: &str,
    text: &str,
    more: SweepOptions,
) -> Result<Campaign, String> {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    let options = SweepOptions {
        output: Some(folder.join("results")),
        ..more
    };
    sweep_campaign(&file, &flags(), &options).map_err(|error| error.to_string())
}

/// The value of a flag among the arguments of `work`; the last one counts.
pub(crate) fn value_of(work: &Work, flag: &str) -> Option<String> {
    let words = work.words();
    let option = format!("--{flag}");
    let at = words
        .iter()
        .rposition(|word| word.split('=').next() == Some(&*option))?;
    match words[at].split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words.get(at + 1).cloned(),
    }
}

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) log: Vec<String>,
    /// What becomes of runs, by their number; all others succeed.
    pub(crate) fate: BTreeMap<usize, Fate>,
    pub(crate) runs: usize,
    pub(crate) clock: f64,
    pub(crate) stopped: bool,
    pub(crate) identity: Identity,
    /// Requests to servers.
    pub(crate) identified: usize,
    pub(crate) bad_server: Option<String>,
    pub(crate) cache_trouble: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Fails,
    /// The user stops it; a partial result is left.
    Stopped,
    /// The whole process is gone: nothing after this run happens.
    Panics,
    LeavesNothing,
}

impl Fake {
    fn leave_result(work: &Work) {
        let number = |name: &str| value_of(work, name).and_then(|text| text.parse::<f64>().ok());
        let (Some(folder), Some(name)) = (
            value_of(work, "result-dir"),
            value_of(work, "result-filename"),
        ) else {
            return;
        };
        fs::create_dir_all(&folder).unwrap();
        let cap = number("max-concurrency").unwrap_or(1.0);
        let seed = number("seed").unwrap_or(0.0);
        let result = json!({
            "date": "20261124-000000",
            "backend": "vllm",
            "model_id": "m",
            "num_prompts": number("num-prompts"),
            "max_concurrency": cap,
            "request_rate": "inf",
            "duration": 10.0,
            "completed": number("num-prompts"),
            "failed": 0,
            "total_input_tokens": 100,
            "total_output_tokens": 200,
            "request_throughput": cap + seed / 1e12,
            "p99_ttft_ms": cap * 100.0,
            "inferometer": {"verdict": {"level": "VALID", "reasons": []}},
        });
        fs::write(Path::new(&folder).join(name), result.to_string()).unwrap();
    }
}

impl World for Fake {
    fn run(&mut self, work: &Work, _log: &Path) -> Exit {
        let what = value_of(work, "result-filename").unwrap_or_else(|| "unmeasured".to_owned());
        self.log.push(format!("run {what}"));
        self.runs += 1;
        self.clock += 10.0;
        match self.fate.get(&self.runs) {
            Some(Fate::Fails) => return Exit::Failed("it broke".to_owned()),
            Some(Fate::LeavesNothing) => return Exit::Success,
            Some(Fate::Panics) => panic!("killed"),
            Some(Fate::Stopped) => {
                self.stopped = true;
                Self::leave_result(work);
                return Exit::Interrupted;
            }
            None => {}
        }
        Self::leave_result(work);
        Exit::Success
    }

    fn start_server(&mut self, server: &ServerSpec, _log: &Path) -> Result<(), String> {
        self.log.push(format!("start {}", server.name));
        match &self.bad_server {
            Some(name) if *name == server.name => Err("out of memory".to_owned()),
            _ => Ok(()),
        }
    }

    fn stop_server(&mut self) {
        self.log.push("stop".to_owned());
    }

    fn identify(&mut self, _target: &Target) -> Result<Identity, String> {
        self.identified += 1;
        Ok(self.identity.clone())
    }

    fn reset_caches(&mut self, _target: &Target) -> Result<(), String> {
        self.log.push("reset".to_owned());
        self.cache_trouble.clone().map_or(Ok(()), Err)
    }

    fn pause(&mut self, time: Duration) {
        self.log.push(format!("pause {}", time.as_secs()));
        self.clock += time.as_secs_f64();
    }

    fn seconds(&self) -> f64 {
        self.clock
    }

    fn date(&self) -> String {
        "2026-11-24T00:00:00.000Z".to_owned()
    }

    fn interrupted(&self) -> bool {
        self.stopped
    }
}

/// The result files of the cells.
pub(crate) fn results(campaign: &Campaign) -> Vec<String> {
    campaign
        .cells
        .iter()
        .map(|cell| cell.result.display().to_string())
        .collect()
}
