//! Shows a run on the terminal: lines, progress, numbers.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use inferometer_benchmark::{Look, Measuring, Observer, Shown};
use inferometer_engine::StopHandle;
use inferometer_os::clock;

use crate::settings::ViewSettings;
use inferometer_terminal::{
    Head, Interrupts, Live, LivePublisher, Output, PlainProgress, RunBar, SlowBar, Tui, View,
    on_interrupt,
};

/// Label of the bar while requests are generated.
const PREPARING: &str = "generating requests";

/// Shows a run on the terminal, and to the sweep that started it.
pub(crate) struct Watch<'a> {
    output: &'a Output,
    view: ViewSettings,
    preparing: Mutex<Option<SlowBar>>,
    /// The displays from the first measured request to the last response; they end when dropped.
    measuring: Mutex<Vec<Box<dyn Any + Send>>>,
    interrupts: Mutex<Option<Interrupts>>,
}

impl<'a> Watch<'a> {
    /// Shows a run as `view` sets.
    pub(crate) fn new(output: &'a Output, view: ViewSettings) -> Self {
        Self {
            output,
            view,
            preparing: Mutex::default(),
            measuring: Mutex::default(),
            interrupts: Mutex::default(),
        }
    }

    /// The bar or the full screen, if either is enabled.
    fn view(&self, run: &Measuring) -> Option<Box<dyn Any + Send>> {
        if !self.view.show_progress {
            return None;
        }
        if !self.output.has_terminal() {
            let progress = run.progress.clone();
            return Some(Box::new(PlainProgress::follow(progress, self.output)));
        }
        if self.view.ui == View::FullScreen {
            let title = run.title.clone();
            let heading = std::sync::Arc::new(Mutex::new(Head {
                title,
                ..Head::default()
            }));
            let (progress, stop) = (run.progress.clone(), run.stop.clone());
            let started = clock::now();
            let poll = move || Some(Live::of(&progress, started, clock::now()));
            let end = move || _ = stop.escalate();
            if let Some(tui) = Tui::follow(poll, end, heading, self.output) {
                return Some(Box::new(tui));
            }
        }
        Some(Box::new(RunBar::follow(run.progress.clone(), run.requests)))
    }
}

impl Observer for Watch<'_> {
    fn line(&self, line: &str) {
        self.output.print_line(line);
    }

    fn note(&self, message: &str) {
        self.output.note(message);
    }

    fn warning(&self, message: &str) {
        self.output.warn(message);
    }

    fn preparing(&self, done: usize, total: usize) {
        let mut bar = self
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bar.get_or_insert_with(|| SlowBar::new(PREPARING, self.output))
            .update(done, total);
    }

    fn prepared(&self) {
        *self
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn interruptible(&self, stop: &StopHandle) {
        let listening = on_interrupt(stop.clone(), self.output);
        *self
            .interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(listening);
    }

    fn measuring(&self, run: &Measuring) {
        let mut shown = self
            .measuring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(publisher) = LivePublisher::follow(run.progress.clone()) {
            shown.push(Box::new(publisher));
        }
        shown.extend(self.view(run));
    }

    fn measured(&self) {
        self.measuring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let interrupts = self.interrupts.lock();
        let interrupts = interrupts.unwrap_or_else(PoisonError::into_inner);
        interrupts.iter().for_each(Interrupts::saving);
    }

    fn numbers(&self, shown: &Shown<'_>) {
        let style = Look {
            color: self.output.color(),
            columns: self.output.columns(),
            run_folder: shown.run_folder.map(|folder| folder.display().to_string()),
            lang: self.view.lang,
        };
        self.output.print(shown.failures);
        self.output.print(
            &shown
                .numbers
                .render(shown.spec, shown.facts, shown.health, &style),
        );
        if let Some(sentence) = shown.simulated {
            let text = self.view.lang.pick(&sentence.en, &sentence.zh);
            self.output.print_sentence(text);
        }
    }
}
