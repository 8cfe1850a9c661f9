//! Carrying a plan out: which cell comes next, what becomes of it, when to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_results::{ImportedRun, read_result_summary};

use crate::CampaignError;
use crate::estimate::{self, Calibration, remaining};
use crate::journal::{Identity, Journal, Status};
use crate::plan::{Cell, Plan, ServerSpec};
use crate::serve_files::{annotate, write_failure};

/// What a campaign needs from the world. The real one starts processes; tests have their own.
pub trait World {
    /// Carries out a command; its talk goes to `log`.
    fn run(&mut self, command: &[String], log: &Path) -> Ended;
    /// Starts a server and waits until it is healthy.
    fn start_server(&mut self, server: &ServerSpec, log: &Path) -> Result<(), String>;
    /// Stops the server, if one runs.
    fn stop_server(&mut self);
    /// Asks the server of a cell what it is.
    fn identify(&mut self, cell: &Cell) -> Result<Identity, String>;
    /// Empties the caches of the server of a cell.
    fn reset_caches(&mut self, cell: &Cell) -> Result<(), String>;
    /// Waits; returns early when interrupted.
    fn pause(&mut self, time: Duration);
    /// Seconds on a clock that only runs forward.
    fn seconds(&self) -> f64;
    /// The present time, RFC 3339.
    fn date(&self) -> String;
    /// True once the user wants to stop.
    fn interrupted(&self) -> bool;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With exit code 0.
    Well,
    /// It was stopped because the user wanted to.
    Interrupted,
    /// Otherwise, with the reason.
    Failed(String),
}

/// What happens, for people.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A server is being started.
    ServerStarting(&'a ServerSpec),
    /// It is healthy.
    ServerReady(&'a ServerSpec, f64),
    /// An unmeasured run has begun.
    WarmingUp(&'a Cell),
    /// A run has begun; the seconds that it and that everything left will take.
    Started(usize, &'a Cell, f64, f64),
    /// A run has ended well, after so many seconds.
    Finished(usize, &'a Cell, f64, Box<ImportedRun>),
    /// A run has failed.
    Failed(usize, &'a Cell, String),
    /// A run is left out.
    Skipped(usize, &'a Cell, String),
    /// Something that people should know.
    Note(String),
}

/// How many cells ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Done in this go.
    pub done: usize,
    /// Done in an earlier go.
    pub earlier: usize,
    /// Failed.
    pub failed: usize,
    /// Left out by a rule.
    pub skipped: usize,
    /// Still to do.
    pub pending: usize,
    /// The user stopped it.
    pub interrupted: bool,
}

/// Carries `plan` out. Each finished cell is on disk before the next begins.
pub fn execute(
    plan: &Plan,
    journal: &mut Journal,
    world: &mut dyn World,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<Tally, CampaignError> {
    let earlier = (0..plan.cells.len())
        .filter(|&index| journal.is_done(index))
        .count();
    let began = world.seconds();
    let mut going = Going {
        plan,
        journal,
        world,
        watch,
        server: None,
        warmed: None,
        calibration: Calibration::default(),
        limits: Vec::new(),
        failed: 0,
        began,
    };
    going.learn_from_earlier();
    let result = going.all();
    // Whatever happened, no server is left behind.
    going.world.stop_server();
    result?;
    let interrupted = going.world.interrupted();
    let count = |status| {
        journal
            .cells()
            .iter()
            .filter(|cell| cell.status == status)
            .count()
    };
    Ok(Tally {
        done: count(Status::Done) - earlier,
        earlier,
        failed: count(Status::Failed),
        skipped: count(Status::Skipped),
        pending: count(Status::Pending) + count(Status::Interrupted),
        interrupted,
    })
}

struct Going<'a> {
    plan: &'a Plan,
    journal: &'a mut Journal,
    world: &'a mut dyn World,
    watch: &'a mut dyn FnMut(&Event<'_>),
    /// The server that runs.
    server: Option<usize>,
    warmed: Option<String>,
    calibration: Calibration,
    /// Cells at which a stop rule held, with the rule.
    limits: Vec<(&'a Cell, String)>,
    failed: usize,
    began: f64,
}

/// What to do after a cell.
enum Next {
    GoOn,
    Stop,
}

impl<'a> Going<'a> {
    /// Cells that an earlier go has done count for the stop rules as well.
    fn learn_from_earlier(&mut self) {
        if self.plan.stop.when.is_empty() {
            return;
        }
        let plan = self.plan;
        for (index, cell) in plan.cells.iter().enumerate() {
            if self.journal.is_done(index)
                && let Ok(runs) = read_result_summary(&plan.result_path(cell))
                && let Some(run) = runs.first()
            {
                self.note_limit(cell, run);
            }
        }
    }

    fn all(&mut self) -> Result<(), CampaignError> {
        let plan = self.plan;
        let mut ran = false;
        for (index, cell) in plan.cells.iter().enumerate() {
            if self.journal.is_done(index) {
                continue;
            }
            if self.world.interrupted() {
                break;
            }
            if let Some(minutes) = plan.stop.max_minutes
                && self.world.seconds() - self.began > minutes * 60.0
            {
                self.tell(&Event::Note(format!(
                    "stop.max_minutes {minutes}: no further run is begun"
                )));
                break;
            }
            if let Some(rule) = self.limit_on(cell) {
                self.journal.update(index, |state| {
                    state.status = Status::Skipped;
                    state.reason = Some(rule.clone());
                })?;
                self.tell(&Event::Skipped(index, cell, rule));
                continue;
            }
            if std::mem::replace(&mut ran, true) && !plan.cooldown.is_zero() {
                self.world.pause(plan.cooldown);
                if self.world.interrupted() {
                    break;
                }
            }
            if matches!(self.one(index, cell)?, Next::Stop) {
                break;
            }
        }
        Ok(())
    }

    fn one(&mut self, index: usize, cell: &'a Cell) -> Result<Next, CampaignError> {
        if let Err(reason) = self.prepare(cell)? {
            if self.world.interrupted() {
                return Ok(Next::Stop);
            }
            return self.fail(index, cell, reason, None);
        }
        if self.world.interrupted() {
            return Ok(Next::Stop);
        }
        let left = remaining(
            self.plan,
            |other| other >= index && !self.journal.is_done(other),
            &self.calibration,
        );
        let own = estimate::seconds(&cell.load()) * self.calibration.factor();
        self.tell(&Event::Started(index, cell, own, left));
        let date = self.world.date();
        self.journal.update(index, |state| {
            state.status = Status::Pending;
            state.reason = None;
            state.started = Some(date);
            state.attempts += 1;
        })?;
        let began = self.world.seconds();
        let ended = self.world.run(&cell.command, &self.log(cell));
        let seconds = self.world.seconds() - began;
        let next = match ended {
            Ended::Interrupted => {
                self.journal.update(index, |state| {
                    state.status = Status::Interrupted;
                    state.seconds = Some(seconds);
                })?;
                return Ok(Next::Stop);
            }
            Ended::Failed(reason) => self.fail(index, cell, reason, Some(seconds))?,
            Ended::Well => match self.result_of(cell) {
                Ok(run) => self.succeed(index, cell, seconds, run)?,
                Err(reason) => self.fail(index, cell, reason, Some(seconds))?,
            },
        };
        if let Some(command) = &self.plan.after_command
            && let Ended::Failed(reason) = self
                .world
                .run(command, &self.plan.output.join("logs/after.log"))
        {
            self.tell(&Event::Note(format!(
                "the command after the run failed: {reason}"
            )));
        }
        Ok(next)
    }

    /// Server, warm-up, caches. The inner error fails the cell, the outer one the campaign.
    fn prepare(&mut self, cell: &'a Cell) -> Result<Result<(), String>, CampaignError> {
        if let Some(wanted) = cell.server
            && self.server != Some(wanted)
        {
            self.world.stop_server();
            self.server = None;
            let spec = &self.plan.servers[wanted];
            self.tell(&Event::ServerStarting(spec));
            let began = self.world.seconds();
            let log = self.plan.output.join(server_log(&spec.name));
            if let Err(reason) = self.world.start_server(spec, &log) {
                return Ok(Err(reason));
            }
            self.server = Some(wanted);
            self.warmed = None;
            self.tell(&Event::ServerReady(spec, self.world.seconds() - began));
            match self.world.identify(cell) {
                Ok(identity) => self
                    .journal
                    .check_server(&server_key(&spec.name), identity)?,
                Err(reason) => return Ok(Err(reason)),
            }
        }
        if let Some(warmup) = &cell.warmup
            && self.warmed.as_ref() != Some(&warmup.key)
        {
            self.tell(&Event::WarmingUp(cell));
            let log = self.log(cell).with_extension("warmup.log");
            match self.world.run(&warmup.command, &log) {
                Ended::Well => self.warmed = Some(warmup.key.clone()),
                Ended::Interrupted => return Ok(Ok(())),
                Ended::Failed(reason) => {
                    return Ok(Err(format!("the warm-up run failed: {reason}")));
                }
            }
        }
        if self.plan.reset_caches {
            return Ok(self.world.reset_caches(cell));
        }
        Ok(Ok(()))
    }

    fn result_of(&self, cell: &Cell) -> Result<ImportedRun, String> {
        let path = self.plan.result_path(cell);
        if !path.is_file() {
            return Err(format!("it ended well but left no {}", path.display()));
        }
        annotate(&path, &cell.annotations, &cell.setting).map_err(|error| error.to_string())?;
        let runs = read_result_summary(&path).map_err(|error| error.to_string())?;
        runs.into_iter()
            .next()
            .ok_or_else(|| format!("{} holds no result", path.display()))
    }

    fn succeed(
        &mut self,
        index: usize,
        cell: &'a Cell,
        seconds: f64,
        run: ImportedRun,
    ) -> Result<Next, CampaignError> {
        self.calibration.learn(&cell.load(), seconds);
        self.note_limit(cell, &run);
        self.journal.update(index, |state| {
            state.status = Status::Done;
            state.seconds = Some(seconds);
        })?;
        let failure = failure_path(self.plan, cell);
        if failure.exists() {
            std::fs::remove_file(&failure).map_err(CampaignError::io("remove", &failure))?;
        }
        self.tell(&Event::Finished(index, cell, seconds, Box::new(run)));
        Ok(Next::GoOn)
    }

    fn fail(
        &mut self,
        index: usize,
        cell: &'a Cell,
        reason: String,
        seconds: Option<f64>,
    ) -> Result<Next, CampaignError> {
        write_failure(&failure_path(self.plan, cell), cell, &reason)?;
        self.journal.update(index, |state| {
            state.status = Status::Failed;
            state.seconds = seconds;
            state.reason = Some(reason.clone());
        })?;
        self.tell(&Event::Failed(index, cell, reason));
        self.failed += 1;
        let too_many = self
            .plan
            .stop
            .max_failed
            .is_some_and(|most| self.failed >= most);
        if too_many {
            self.tell(&Event::Note(format!(
                "stop.max_failed: {} runs have failed",
                self.failed
            )));
        }
        Ok(if self.plan.fail_fast || too_many {
            Next::Stop
        } else {
            Next::GoOn
        })
    }

    fn note_limit(&mut self, cell: &'a Cell, run: &ImportedRun) {
        if let Some(rule) = self.plan.stop.when.iter().find(|rule| rule.holds(run)) {
            self.limits.push((cell, rule.to_string()));
        }
    }

    /// The rule by which a cell is left out.
    fn limit_on(&self, cell: &Cell) -> Option<String> {
        let (load, series) = (cell.load(), cell.series());
        self.limits
            .iter()
            .find(|(limit, _)| load.exceeds(&limit.load()) && series == limit.series())
            .map(|(limit, rule)| format!("stop rule: {rule} held for {}", limit.name))
    }

    fn log(&self, cell: &Cell) -> PathBuf {
        self.plan
            .output
            .join("logs")
            .join(cell.result.with_extension("log"))
    }

    fn tell(&mut self, event: &Event<'_>) {
        (self.watch)(event);
    }
}

/// Asks each server that is there already what it is, and compares it with the journal.
pub fn check_servers(
    plan: &Plan,
    journal: &mut Journal,
    world: &mut dyn World,
) -> Result<(), CampaignError> {
    let found = identify_all(plan, world)?;
    found
        .into_iter()
        .try_for_each(|(key, identity)| journal.check_server(&key, identity))
}

/// What each server that is there already says of itself; none for a plan that starts its own.
pub(crate) fn identify_all(
    plan: &Plan,
    world: &mut dyn World,
) -> Result<IndexMap<String, Identity>, CampaignError> {
    let mut found = IndexMap::new();
    for cell in plan
        .cells
        .iter()
        .filter(|cell| plan.servers.is_empty() && !cell.is_simulated())
    {
        let key = cell.target().url;
        let key = inferometer_core::redact_url(&key);
        if !found.contains_key(&key) {
            found.insert(key, world.identify(cell).map_err(CampaignError::Setting)?);
        }
    }
    Ok(found)
}

/// Where the reason of a failure stands.
fn failure_path(plan: &Plan, cell: &Cell) -> PathBuf {
    plan.result_path(cell).with_extension("failure.json")
}

fn server_log(name: &str) -> String {
    if name.is_empty() {
        "logs/server.log".to_owned()
    } else {
        format!("logs/SERVE--{}.log", crate::plan::file_part(name))
    }
}

fn server_key(name: &str) -> String {
    if name.is_empty() {
        "started by the sweep".to_owned()
    } else {
        name.to_owned()
    }
}
