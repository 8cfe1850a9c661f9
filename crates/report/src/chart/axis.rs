//! Axes: scales and their ticks.

use crate::format::significant;

/// How values map to positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Even steps. Unless both ends are given, it starts at zero so that heights can be compared.
    Linear,
    /// Even ratios; values that are not positive are left out.
    Log,
    /// One position per name, at 0, 1, 2, …
    Categories(Vec<String>),
}

/// One axis of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Title, with the unit.
    pub title: String,
    /// The scale.
    pub scale: Scale,
    /// Values with ticks; chosen from the data when empty.
    pub ticks: Vec<f64>,
    /// Fixed ends; chosen from the data when absent.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis from zero.
    pub fn linear(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            scale: Scale::Linear,
            ticks: Vec::new(),
            range: None,
        }
    }

    /// A logarithmic axis.
    pub fn log(title: impl Into<String>) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(title)
        }
    }

    /// Logarithmic when `values` (the positive ones) span more than a factor of `span`, else
    /// linear.
    pub fn spanning(
        title: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        span: f64,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values {
            if is_drawable(value) && value > 0.0 {
                low = low.min(value);
                high = high.max(value);
            }
        }
        if high > low * span {
            Self::log(title)
        } else {
            Self::linear(title)
        }
    }

    /// An axis of names.
    pub fn categories(title: impl Into<String>, names: Vec<String>) -> Self {
        Self {
            scale: Scale::Categories(names),
            ..Self::linear(title)
        }
    }

    /// With ticks at the given values.
    #[must_use]
    pub fn with_ticks(mut self, ticks: Vec<f64>) -> Self {
        self.ticks = ticks;
        self
    }

    /// With fixed ends.
    #[must_use]
    pub fn with_range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }
}

/// An axis with known ends: maps values to 0…1.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    log: bool,
    low: f64,
    high: f64,
    /// (value, label)
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Placed {
    /// Determines the ends from `values`; `pad` adds room at both ends (a fraction of the span).
    pub(crate) fn new(axis: &Axis, values: &[f64], pad: f64) -> Self {
        match &axis.scale {
            Scale::Categories(names) => Self {
                log: false,
                low: -0.5,
                high: names.len().max(1) as f64 - 0.5,
                ticks: names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| (i as f64, name.clone()))
                    .collect(),
            },
            Scale::Linear => Self::linear(axis, values, pad),
            Scale::Log => Self::logarithmic(axis, values, pad),
        }
    }

    /// Position of `value` on the axis, 0 at its start and 1 at its end; `None` where it has none.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        if !is_drawable(value) || (self.log && value <= 0.0) {
            return None;
        }
        let place = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        Some(place)
    }

    fn linear(axis: &Axis, values: &[f64], pad: f64) -> Self {
        let (mut low, mut high) = bounds(values, |_| true).unwrap_or((0.0, 1.0));
        if let Some((from, to)) = axis.range {
            (low, high) = (from, to);
        } else if low >= 0.0 {
            low = 0.0;
        }
        if high <= low {
            high = low + 1.0;
        }
        if axis.range.is_none() {
            high += (high - low) * pad;
        }
        let step = nice_step((high - low) / 6.5);
        let ticks = if axis.ticks.is_empty() {
            if axis.range.is_none() && pad > 0.0 {
                // End on a tick when that wastes little room.
                let end = (high / step).ceil() * step;
                if end - high < step * 0.6 {
                    high = end;
                }
            }
            let first = (low / step).ceil() as i64;
            let last = ((high + step * 1e-9) / step).floor() as i64;
            (first..=last).map(|n| n as f64 * step).collect()
        } else {
            axis.ticks.clone()
        };
        Self {
            log: false,
            low,
            high,
            ticks: labelled(&ticks, step),
        }
    }

    fn logarithmic(axis: &Axis, values: &[f64], pad: f64) -> Self {
        let (mut low, mut high) = bounds(values, |v| v > 0.0).unwrap_or((1.0, 10.0));
        if let Some((from, to)) = axis.range {
            (low, high) = (from, to);
        } else {
            let room = (high / low).powf(pad).max(1.12);
            (low, high) = (low / room, high * room);
        }
        let ticks = if axis.ticks.is_empty() {
            log_ticks(low, high)
        } else {
            axis.ticks.clone()
        };
        let ticks = ticks
            .into_iter()
            .map(|value| (value, tick_label(value)))
            .collect();
        Self {
            log: true,
            low,
            high,
            ticks,
        }
    }
}

/// False for infinity and NaN, and for numbers that no measurement has and whose products and
/// quotients are infinite or zero: a foreign result file may hold any number.
fn is_drawable(value: f64) -> bool {
    value == 0.0 || (1e-100..=1e100).contains(&value.abs())
}

fn bounds(values: &[f64], fits: impl Fn(f64) -> bool) -> Option<(f64, f64)> {
    let mut ends: Option<(f64, f64)> = None;
    for &value in values.iter().filter(|v| is_drawable(**v) && fits(**v)) {
        let (low, high) = ends.unwrap_or((value, value));
        ends = Some((low.min(value), high.max(value)));
    }
    ends
}

/// The next of 1, 2, 5 × 10ⁿ at or above `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let lead = rough / power;
    let nice = if lead <= 1.0 {
        1.0
    } else if lead <= 2.0 {
        2.0
    } else if lead <= 5.0 {
        5.0
    } else {
        10.0
    };
    nice * power
}

fn labelled(ticks: &[f64], step: f64) -> Vec<(f64, String)> {
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let largest = ticks
        .iter()
        .fold(0.0_f64, |most, tick| most.max(tick.abs()));
    ticks
        .iter()
        .map(|&value| {
            let label = if largest >= 10_000.0 {
                tick_label(value)
            } else {
                format!("{value:.decimals$}")
            };
            (value, label)
        })
        .collect()
}

/// 1, 2, 5 within up to two decades, else powers of ten (thinned when there are many).
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let leads: &[f64] = if decades <= 2.2 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let stride = if decades > 7.0 { 2 } else { 1 };
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let mut ticks = Vec::new();
    for power in (first..=last).filter(|power| power.rem_euclid(stride) == 0) {
        for lead in leads {
            let value = lead * 10_f64.powi(power);
            if value >= low * 0.999_999 && value <= high * 1.000_001 {
                ticks.push(value);
            }
        }
    }
    ticks
}

/// A short label: 0.5, 20, 1.5k, 2M.
pub(crate) fn tick_label(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = significant(scaled, 4);
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_start_at_zero_and_end_on_a_tick() {
        let placed = Placed::new(&Axis::linear("t"), &[40.0, 93.0], 0.05);
        let labels: Vec<_> = placed
            .ticks
            .iter()
            .map(|(_, label)| label.as_str())
            .collect();
        assert_eq!(labels, ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(placed.place(0.0), Some(0.0));
        assert_eq!(placed.place(100.0), Some(1.0));
    }

    #[test]
    fn log_axes_have_no_position_for_zero() {
        let placed = Placed::new(&Axis::log("t"), &[1.0, 0.0, 1000.0], 0.0);
        assert_eq!(placed.place(0.0), None);
        assert!(placed.place(1.0).unwrap() > 0.0);
        assert_eq!(placed.ticks.first().map(|tick| tick.1.as_str()), Some("1"));
    }

    /// The powers of ten of a 64-bit number's ends are some six hundred: an axis of infinite length
    /// has four billion ticks.
    #[test]
    fn absurd_numbers_have_no_place() {
        for axis in [Axis::linear("t"), Axis::log("t")] {
            for absurd in [1e300, f64::MAX, 5e-324, f64::INFINITY, f64::NAN] {
                let placed = Placed::new(&axis, &[1.0, absurd, 50.0], 0.05);
                assert!(placed.ticks.len() < 20, "{absurd}: {:?}", placed.ticks);
                assert_eq!(placed.place(absurd), None);
                assert!(placed.place(50.0).is_some_and(|place| place <= 1.0));
                let alone = Placed::new(&axis, &[absurd], 0.05);
                assert!(alone.ticks.len() < 20, "{absurd}: {:?}", alone.ticks);
            }
        }
    }

    #[test]
    fn short_labels() {
        assert_eq!(tick_label(15_000.0), "15k");
        assert_eq!(tick_label(0.5), "0.5");
        assert_eq!(tick_label(2_500_000.0), "2.5M");
        assert_eq!(tick_label(512.0), "512");
    }
}
