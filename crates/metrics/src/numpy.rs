//! Mean, standard deviation, median and percentiles as NumPy computes them, bit for bit.
//!
//! The order of the additions matters for the last bits, so it is NumPy's: a pairwise sum with
//! blocks of 128 values and eight running sums within a block.

const BLOCK: usize = 128;
const LANES: usize = 8;

/// `numpy.sum(values)`.
pub fn sum(values: &[f64]) -> f64 {
    // NumPy adds to its identity 0, which shows when the sum is −0.
    0.0 + pairwise(values)
}

/// `numpy.mean(values)`, or 0 for no values.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        sum(values) / values.len() as f64
    }
}

/// `numpy.std(values)` (population standard deviation), or 0 for no values.
pub fn std(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let mean = mean(values);
    let squares: Vec<f64> = values.iter().map(|value| square(value - mean)).collect();
    (sum(&squares) / values.len() as f64).sqrt()
}

/// `numpy.median` of values in ascending order, or 0 for no values.
pub fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n == 0 {
        return 0.0;
    }
    if n % 2 == 1 {
        sorted[n / 2]
    } else {
        middle(sorted[n / 2 - 1], sorted[n / 2])
    }
}

/// `numpy.percentile(values, p)` with linear interpolation, of values in ascending order, or 0 for
/// no values.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let position = Position::of(p, sorted.len());
    position.between(sorted[position.lower], sorted[position.upper])
}

/// Sorts values for [`median`] and [`percentile`].
pub fn sort(values: &mut [f64]) {
    values.sort_unstable_by(f64::total_cmp);
}

pub(crate) fn square(x: f64) -> f64 {
    x * x
}

/// Mean of the two middle values.
#[expect(
    clippy::manual_midpoint,
    reason = "NumPy's operations, its overflow included"
)]
pub(crate) fn middle(low: f64, high: f64) -> f64 {
    (low + high) / 2.0
}

/// Position of a percentile among `n` values in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) lower: usize,
    pub(crate) upper: usize,
    weight: f64,
}

impl Position {
    pub(crate) fn of(p: f64, n: usize) -> Self {
        let last = n - 1;
        let place = last as f64 * (p / 100.0);
        let lower = place.floor();
        if place >= last as f64 {
            return Self {
                lower: last,
                upper: last,
                weight: 0.0,
            };
        }
        let lower_index = lower.max(0.0) as usize;
        Self {
            lower: lower_index,
            upper: lower_index + 1,
            weight: place - lower,
        }
    }

    /// Interpolates from the nearer end, so that the result is exact at both.
    pub(crate) fn between(self, low: f64, high: f64) -> f64 {
        let width = high - low;
        if self.weight >= 0.5 {
            high - width * (1.0 - self.weight)
        } else {
            low + width * self.weight
        }
    }
}

fn pairwise(values: &[f64]) -> f64 {
    if values.len() <= BLOCK {
        return block_sum(values);
    }
    let (left, right) = values.split_at(left_half(values.len()));
    pairwise(left) + pairwise(right)
}

fn left_half(n: usize) -> usize {
    let half = n / 2;
    half - half % LANES
}

fn block_sum(values: &[f64]) -> f64 {
    if values.len() < LANES {
        return values.iter().fold(-0.0, |sum, value| sum + value);
    }
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&values[..LANES]);
    let mut chunks = values[LANES..].chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let pairs = [
        lanes[0] + lanes[1],
        lanes[2] + lanes[3],
        lanes[4] + lanes[5],
        lanes[6] + lanes[7],
    ];
    let total = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
    chunks
        .remainder()
        .iter()
        .fold(total, |sum, value| sum + value)
}

/// [`sum`] of a known number of values that arrive one by one: the same result without keeping
/// them.
#[derive(Clone, Debug)]
pub(crate) struct StreamingSum {
    open: Vec<Half>,
    block: Vec<f64>,
    block_len: usize,
    total: f64,
}

/// A split whose sum is not complete yet.
#[derive(Clone, Copy, Debug)]
enum Half {
    /// The left half is being summed; this many values follow on the right.
    Left { right: usize },
    /// The right half is being summed.
    Right { left: f64 },
}

impl StreamingSum {
    /// A sum of exactly `n` values.
    pub(crate) fn new(n: usize) -> Self {
        let mut sum = Self {
            open: Vec::new(),
            block: Vec::with_capacity(BLOCK),
            block_len: 0,
            total: 0.0,
        };
        sum.descend(n);
        sum
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.block.push(value);
        if self.block.len() == self.block_len {
            self.close_block();
        }
    }

    /// The sum, once all values have been added.
    pub(crate) fn total(&self) -> f64 {
        debug_assert!(
            self.block.is_empty() && self.open.is_empty(),
            "values are missing"
        );
        0.0 + self.total
    }

    fn close_block(&mut self) {
        let mut sum = block_sum(&self.block);
        self.block.clear();
        loop {
            match self.open.pop() {
                None => {
                    self.total = sum;
                    return;
                }
                Some(Half::Right { left }) => sum += left,
                Some(Half::Left { right }) => {
                    self.open.push(Half::Right { left: sum });
                    self.descend(right);
                    return;
                }
            }
        }
    }

    fn descend(&mut self, mut n: usize) {
        while n > BLOCK {
            let left = left_half(n);
            self.open.push(Half::Left { right: n - left });
            n = left;
        }
        self.block_len = n;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_streamed_sum_equals_the_sum_of_the_slice(values in prop::collection::vec(-1e6_f64..1e6, 0..3000)) {
            let mut streamed = StreamingSum::new(values.len());
            for &value in &values {
                streamed.add(value);
            }
            prop_assert_eq!(streamed.total().to_bits(), sum(&values).to_bits());
        }

        #[test]
        fn statistics_agree_with_the_plain_formulas(
            mut values in prop::collection::vec(0.0_f64..1e3, 1..400), p in 0.0_f64..=100.0,
        ) {
            let n = values.len() as f64;
            let naive_mean = values.iter().sum::<f64>() / n;
            let naive_std = (values.iter().map(|x| (x - naive_mean).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!((mean(&values) - naive_mean).abs() < 1e-9);
            prop_assert!((std(&values) - naive_std).abs() < 1e-9);
            sort(&mut values);
            let place = (n - 1.0) * p / 100.0;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            let naive = low + (high - low) * place.fract();
            prop_assert!((percentile(&values, p) - naive).abs() < 1e-9);
            prop_assert!(percentile(&values, p) >= values[0]);
            prop_assert!(percentile(&values, p) <= values[values.len() - 1]);
            prop_assert!((median(&values) - percentile(&values, 50.0)).abs() < 1e-9);
        }
    }

    #[test]
    fn no_values_give_zero() {
        assert_eq!(
            (mean(&[]), std(&[]), median(&[]), percentile(&[], 99.0)),
            (0.0, 0.0, 0.0, 0.0)
        );
        assert_eq!(StreamingSum::new(0).total(), 0.0);
    }
}
