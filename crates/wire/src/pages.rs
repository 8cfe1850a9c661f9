//! Optional pages of a server, some of which a proxy may drop silently. None of them delays a run
//! for long, and a warning names each page that hangs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use inferometer_core::Nanos;

/// How long a page may take that has not answered yet: before a run nothing else keeps the server
/// busy, and these pages cost it milliseconds.
const UNKNOWN: Nanos = Nanos::from_millis(2_000);

/// What is known of the optional pages of a run's servers.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<BTreeMap<String, State>>);

#[derive(Clone, Debug)]
enum State {
    /// It has answered, whatever the status.
    Answers,
    /// It did not answer within this time.
    Hangs { limit: Nanos, reported: bool },
}

impl Pages {
    /// The time limit for the next question to `page`, at most `most`; `None` where it is no use to
    /// ask again.
    pub(crate) fn limit(&self, page: &str, most: Nanos) -> Option<Nanos> {
        match self.lock().get(page) {
            None => Some(most.min(UNKNOWN)),
            Some(State::Answers) => Some(most),
            Some(State::Hangs { .. }) => None,
        }
    }

    pub(crate) fn answered(&self, page: String) {
        // One that hung for another question at the same time still hangs sometimes.
        self.lock().entry(page).or_insert(State::Answers);
    }

    pub(crate) fn hung(&self, page: String, limit: Nanos) {
        let reported = false;
        self.lock().insert(page, State::Hangs { limit, reported });
    }

    /// A sentence for each page that has not answered, once.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for (page, state) in self.lock().iter_mut() {
            if let State::Hangs { limit, reported } = state
                && !std::mem::replace(reported, true)
            {
                sentences.push(format!(
                    "{page} did not answer within {} s: it is not asked again, and what it would report is left out",
                    limit.as_secs_f64()
                ));
            }
        }
        sentences
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_hangs_is_reported_once_and_not_asked_again() {
        let (pages, most) = (Pages::default(), Nanos::from_millis(10_000));
        assert_eq!(pages.limit("GET /a", most), Some(UNKNOWN));
        pages.answered("GET /a".into());
        assert_eq!(pages.limit("GET /a", most), Some(most));
        pages.hung("GET /a".into(), most);
        assert_eq!(pages.limit("GET /a", most), None);
        let said = pages.unanswered();
        assert!(
            said.len() == 1 && said[0].contains("GET /a did not answer within 10 s"),
            "{said:?}"
        );
        assert!(pages.unanswered().is_empty());
    }
}
