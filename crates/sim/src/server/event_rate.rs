//! How many events the scheduler writes at present.

use inferometer_core::Nanos;

/// At more than this many events in a [`WINDOW`] (20,000 per second), wake-ups are put together:
/// setting an alarm and waking up takes longer than writing an event, and at such rates each alarm
/// would be for one or two of them. At 100,000 events per second this saves a sixth of the CPU time
/// (docs/simulator.md, Speed).
const MANY: u32 = 200;
/// Time over which events are counted.
const WINDOW: Nanos = Nanos::from_millis(10);

/// The rate of events.
#[derive(Default)]
pub(super) struct EventRate {
    window: Nanos,
    events: u32,
    is_high: bool,
}

impl EventRate {
    /// Takes note of an event.
    pub(super) fn add(&mut self, now: Nanos) {
        self.events += 1;
        if now.since(self.window) >= WINDOW {
            self.is_high = self.events >= MANY && now.since(self.window) < WINDOW + WINDOW;
            self.window = now;
            self.events = 0;
        }
    }

    /// True when wake-ups should be put together.
    pub(super) fn is_high(&self) -> bool {
        self.is_high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_high_rate_puts_wake_ups_together() {
        let mut rate = EventRate::default();
        let at = |rate: &mut EventRate, events: u64, gap_us: u64, from_ms: u64| {
            for event in 0..events {
                rate.add(Nanos::from_millis(from_ms) + Nanos::from_micros(event * gap_us));
            }
            rate.is_high()
        };
        // 2,500 per second, then 100,000, then a pause and few again.
        assert!(!at(&mut rate, 100, 400, 0));
        assert!(at(&mut rate, 4_000, 10, 40));
        assert!(!at(&mut rate, 30, 1_000, 500));
    }
}
