//! Executing a campaign: which cell comes next, how it ended, when to stop.

use indexmap::IndexMap;
use inferometer_results::{ImportedRun, read_result_summary};

use crate::campaign::{Campaign, Cell};
use crate::error::CampaignError;
use crate::estimate::{self, Calibration, remaining};
use crate::journal::{Identity, Journal, Status};
use crate::serve_files::{annotate, write_failure};
use crate::world::{Event, Exit, Tally, World};

/// Executes `campaign`. Each finished cell is on disk before the next starts.
///
/// # Errors
///
/// A journal that cannot be written. A cell that fails is an event and part of the tally, not an
/// error.
pub fn execute(
    campaign: &Campaign,
    journal: &mut Journal,
    world: &mut dyn World,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<Tally, CampaignError> {
    let earlier = (0..campaign.cells.len())
        .filter(|&index| journal.is_done(index))
        .count();
    let started_s = world.seconds();
    let mut execution = Execution {
        campaign,
        journal,
        world,
        watch,
        server: None,
        warmed: None,
        calibration: Calibration::default(),
        limits: Vec::new(),
        failed: 0,
        knows_keys: false,
        started_s,
    };
    execution.learn_from_earlier();
    let result = execution.all();
    // Whatever happened, no server is left behind.
    execution.world.stop_server();
    result?;
    let interrupted = execution.world.interrupted();
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

struct Execution<'a> {
    campaign: &'a Campaign,
    journal: &'a mut Journal,
    world: &'a mut dyn World,
    watch: &'a mut dyn FnMut(&Event<'_>),
    /// The server that runs.
    server: Option<usize>,
    /// Key of the last warm-up.
    warmed: Option<String>,
    calibration: Calibration,
    /// Cells after which a stop rule held.
    limits: Vec<Limit<'a>>,
    failed: usize,
    /// The keys of the stop rules were compared with those of a result.
    knows_keys: bool,
    /// When it started, in seconds of the world's clock.
    started_s: f64,
}

/// A cell after which a stop rule held.
struct Limit<'a> {
    cell: &'a Cell,
    rule: String,
}

/// What to do after a cell.
enum Next {
    Continue,
    Stop,
}

/// Why a run cannot be started.
enum NotReady {
    /// Its cell fails, with this reason.
    Cell(String),
    /// The campaign cannot be continued.
    Campaign(CampaignError),
}

impl<'a> Execution<'a> {
    /// Cells that an earlier execution has done count for the stop rules as well.
    fn learn_from_earlier(&mut self) {
        if self.campaign.stop.when.is_empty() {
            return;
        }
        let campaign = self.campaign;
        for (index, cell) in campaign.cells.iter().enumerate() {
            if self.journal.is_done(index)
                && let Ok(runs) = read_result_summary(&campaign.result_path(cell))
                && let Some(run) = runs.first()
            {
                self.note_limit(cell, run);
            }
        }
    }

    fn all(&mut self) -> Result<(), CampaignError> {
        let campaign = self.campaign;
        let mut ran = false;
        for (index, cell) in campaign.cells.iter().enumerate() {
            if self.journal.is_done(index) {
                continue;
            }
            if self.world.interrupted() {
                break;
            }
            if let Some(minutes) = campaign.stop.max_minutes
                && self.world.seconds() - self.started_s > minutes * 60.0
            {
                self.notify(&Event::Note(format!(
                    "stop.max_minutes {minutes}: no further run is started"
                )));
                break;
            }
            if let Some(rule) = self.limit_on(cell) {
                self.journal.update(index, |state| {
                    state.status = Status::Skipped;
                    state.reason = Some(rule.clone());
                })?;
                self.notify(&Event::Skipped {
                    index,
                    cell,
                    reason: rule,
                });
                continue;
            }
            if std::mem::replace(&mut ran, true) && !campaign.cooldown.is_zero() {
                self.world.pause(campaign.cooldown);
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
        let ready = self.prepare(cell);
        if self.world.interrupted() && !matches!(ready, Err(NotReady::Campaign(_))) {
            return Ok(Next::Stop);
        }
        match ready {
            Ok(()) => {}
            Err(NotReady::Cell(reason)) => return self.fail(index, cell, reason, None),
            Err(NotReady::Campaign(error)) => return Err(error),
        }
        self.start(index, cell)?;
        let started_s = self.world.seconds();
        let exit = self.world.run(&cell.work, &self.campaign.log_path(cell));
        let seconds = self.world.seconds() - started_s;
        let next = match exit {
            Exit::Interrupted => {
                self.journal.update(index, |state| {
                    state.status = Status::Interrupted;
                    state.seconds = Some(seconds);
                })?;
                return Ok(Next::Stop);
            }
            Exit::Failed(reason) => self.fail(index, cell, reason, Some(seconds))?,
            Exit::Success => match self.result_of(cell) {
                Ok(run) => self.succeed(index, cell, seconds, run)?,
                Err(reason) => self.fail(index, cell, reason, Some(seconds))?,
            },
        };
        if let Some(command) = &self.campaign.after_command
            && let Exit::Failed(reason) = self
                .world
                .run(command, &self.campaign.output.join("logs/after.log"))
        {
            self.notify(&Event::Note(format!(
                "the command after the run failed: {reason}"
            )));
        }
        Ok(next)
    }

    /// Announces a run and records that it has been started.
    fn start(&mut self, index: usize, cell: &'a Cell) -> Result<(), CampaignError> {
        let left_s = remaining(
            self.campaign,
            |other| other >= index && !self.journal.is_done(other),
            &self.calibration,
        );
        self.notify(&Event::Started {
            index,
            cell,
            seconds: estimate::seconds(&cell.load()) * self.calibration.factor(),
            left_s,
        });
        let date = self.world.date();
        self.journal.update(index, |state| {
            state.status = Status::Pending;
            state.reason = None;
            state.started = Some(date);
            state.attempts += 1;
        })
    }

    /// Server, warm-up, caches.
    fn prepare(&mut self, cell: &'a Cell) -> Result<(), NotReady> {
        self.ensure_server(cell)?;
        self.warm_up(cell)?;
        if self.campaign.reset_caches && !self.world.interrupted() {
            self.world
                .reset_caches(&cell.target())
                .map_err(NotReady::Cell)?;
        }
        Ok(())
    }

    /// Starts the server that the cell needs, unless it runs already.
    fn ensure_server(&mut self, cell: &'a Cell) -> Result<(), NotReady> {
        let Some(wanted) = cell.server.filter(|wanted| self.server != Some(*wanted)) else {
            return Ok(());
        };
        self.world.stop_server();
        self.server = None;
        let campaign = self.campaign;
        let spec = &campaign.servers[wanted];
        self.notify(&Event::ServerStarting(spec));
        let started_s = self.world.seconds();
        self.world
            .start_server(spec, &campaign.server_log_path(spec))
            .map_err(NotReady::Cell)?;
        self.server = Some(wanted);
        self.warmed = None;
        let took = self.world.seconds() - started_s;
        self.notify(&Event::ServerReady(spec, took));
        let identity = self
            .world
            .identify(&cell.target())
            .map_err(NotReady::Cell)?;
        self.journal
            .check_server(&server_key(&spec.name), identity)
            .map_err(NotReady::Campaign)
    }

    /// Makes the cell's unmeasured run, unless one under the same key was the last one.
    fn warm_up(&mut self, cell: &'a Cell) -> Result<(), NotReady> {
        let Some(warmup) = &cell.warmup else {
            return Ok(());
        };
        if self.warmed.as_ref() == Some(&warmup.key) {
            return Ok(());
        }
        self.notify(&Event::WarmingUp(cell));
        let log = self.campaign.log_path(cell).with_extension("warmup.log");
        match self.world.run(&warmup.work, &log) {
            Exit::Success => self.warmed = Some(warmup.key.clone()),
            // The campaign stops before anything else is done.
            Exit::Interrupted => {}
            Exit::Failed(reason) => {
                return Err(NotReady::Cell(format!("the warm-up run failed: {reason}")));
            }
        }
        Ok(())
    }

    fn result_of(&self, cell: &Cell) -> Result<ImportedRun, String> {
        let path = self.campaign.result_path(cell);
        if !path.is_file() {
            return Err(format!("it succeeded but left no {}", path.display()));
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
        let failure = self.campaign.failure_path(cell);
        if failure.exists() {
            std::fs::remove_file(&failure).map_err(CampaignError::io("remove", &failure))?;
        }
        self.notify(&Event::Finished {
            index,
            cell,
            seconds,
            run: Box::new(run),
        });
        Ok(Next::Continue)
    }

    fn fail(
        &mut self,
        index: usize,
        cell: &'a Cell,
        reason: String,
        seconds: Option<f64>,
    ) -> Result<Next, CampaignError> {
        write_failure(&self.campaign.failure_path(cell), cell, &reason)?;
        self.journal.update(index, |state| {
            state.status = Status::Failed;
            state.seconds = seconds;
            state.reason = Some(reason.clone());
        })?;
        self.notify(&Event::Failed {
            index,
            cell,
            reason,
        });
        self.failed += 1;
        let too_many = self
            .campaign
            .stop
            .max_failed
            .is_some_and(|most| self.failed >= most);
        if too_many {
            self.notify(&Event::Note(format!(
                "stop.max_failed: {} failed, so no further run is started",
                self.failed
            )));
        }
        Ok(if self.campaign.fail_fast || too_many {
            Next::Stop
        } else {
            Next::Continue
        })
    }

    fn note_limit(&mut self, cell: &'a Cell, run: &ImportedRun) {
        // The first result shows which keys there are.
        if !std::mem::replace(&mut self.knows_keys, true) {
            for rule in &self.campaign.stop.when {
                if let Some(key) = rule.unknown_key(run) {
                    let note = format!(
                        "stop.when: {rule}: the result has no key {key}; this rule stops nothing"
                    );
                    (self.watch)(&Event::Note(note));
                }
            }
        }
        if let Some(rule) = self.campaign.stop.when.iter().find(|rule| rule.holds(run)) {
            self.limits.push(Limit {
                cell,
                rule: rule.to_string(),
            });
        }
    }

    /// The rule by which a cell is skipped.
    fn limit_on(&self, cell: &Cell) -> Option<String> {
        let load = cell.load();
        let exceeds = |limit: &&Limit<'_>| {
            load.exceeds(&limit.cell.load()) && cell.is_same_series(limit.cell)
        };
        let limit = self.limits.iter().find(exceeds)?;
        Some(format!(
            "stop rule: {} held for {}",
            limit.rule, limit.cell.name
        ))
    }

    fn notify(&mut self, event: &Event<'_>) {
        (self.watch)(event);
    }
}

/// Asks each server that is running already for its identity, and compares it with the journal.
///
/// # Errors
///
/// A server that does not answer, or whose models or version differ from the journal's.
pub fn check_servers(
    campaign: &Campaign,
    journal: &mut Journal,
    world: &mut dyn World,
) -> Result<(), CampaignError> {
    let found = identify_all(campaign, world)?;
    found
        .into_iter()
        .try_for_each(|(key, identity)| journal.check_server(&key, identity))
}

/// What each server that is running already reports about itself; none for a campaign that starts
/// its own.
pub(crate) fn identify_all(
    campaign: &Campaign,
    world: &mut dyn World,
) -> Result<IndexMap<String, Identity>, CampaignError> {
    let mut found = IndexMap::new();
    for cell in campaign
        .cells
        .iter()
        .filter(|cell| campaign.servers.is_empty() && !cell.is_simulated())
    {
        let target = cell.target();
        let key = inferometer_core::redact_url(&target.url);
        if !found.contains_key(&key) {
            found.insert(
                key,
                world.identify(&target).map_err(CampaignError::Setting)?,
            );
        }
    }
    Ok(found)
}

fn server_key(name: &str) -> String {
    if name.is_empty() {
        "started by the sweep".to_owned()
    } else {
        name.to_owned()
    }
}
