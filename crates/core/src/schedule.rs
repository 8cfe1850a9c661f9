//! When requests are due.

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// The due instant of each request, from the start of the run.
///
/// A schedule never changes once it is made: a late request keeps its due instant, and the lateness
/// is visible in its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    due: Vec<Nanos>,
}

/// Why a list of instants is not a schedule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// A later request would be due before an earlier one.
    #[error("request {index} is due before request {}, but a schedule must not go backwards", index - 1)]
    Backwards {
        /// The first request that is out of order.
        index: usize,
    },
}

impl Schedule {
    /// All `n` requests are due at once: they start as soon as slots are free.
    pub fn at_once(n: usize) -> Self {
        Self {
            due: vec![Nanos::ZERO; n],
        }
    }

    /// A schedule from due instants in ascending order.
    ///
    /// # Errors
    ///
    /// Instants that descend.
    pub fn new(due: Vec<Nanos>) -> Result<Self, ScheduleError> {
        match due.windows(2).position(|pair| pair[1] < pair[0]) {
            Some(before) => Err(ScheduleError::Backwards { index: before + 1 }),
            None => Ok(Self { due }),
        }
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// The due instant of request `index`.
    pub fn due(&self, index: usize) -> Nanos {
        self.due[index]
    }

    /// All due instants in order.
    pub fn as_slice(&self) -> &[Nanos] {
        &self.due
    }

    /// The last due instant, or zero for an empty schedule.
    pub fn last(&self) -> Nanos {
        self.due.last().copied().unwrap_or_default()
    }

    /// True when every request is due at the start (an infinite request rate).
    pub fn is_at_once(&self) -> bool {
        self.last() == Nanos::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_goes_backwards_is_refused() {
        let due = vec![Nanos(1), Nanos(3), Nanos(2)];
        assert_eq!(
            Schedule::new(due),
            Err(ScheduleError::Backwards { index: 2 })
        );
    }
}
