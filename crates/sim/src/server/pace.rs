//! When the events of an answer are due, without an engine model.

use inferometer_core::Nanos;
use inferometer_core::random::StreamRng;

use crate::delay::Delay;

/// When the events of an answer are due.
pub(crate) struct Pace {
    pub(crate) due: Nanos,
    pub(crate) itl: Delay,
    /// Only where the delays are drawn.
    pub(crate) rng: Option<Box<StreamRng>>,
}

impl Pace {
    pub(crate) fn advance(&mut self) {
        let gap = self.draw();
        self.due += gap;
    }

    fn draw(&mut self) -> Nanos {
        match &mut self.rng {
            Some(rng) => self.itl.sample(rng),
            None => Nanos::from_secs_f64(self.itl.0.mean() / 1e3),
        }
    }
}
