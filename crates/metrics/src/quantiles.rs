//! Exact percentiles of spans that are too many to keep.
//!
//! The same values are added in each of three passes. The first pass counts them in buckets of
//! 1/4096 relative width; the second divides only those buckets that contain a wanted rank, and the
//! third divides again where a nanosecond is not yet resolved. Memory is a few megabytes whatever
//! the number of values, and the result is that of sorting them all.

use inferometer_core::Nanos;

use crate::numpy::{Position, middle};

/// Passes over the values that a [`Quantiles`] needs.
pub(crate) const PASSES: usize = 3;

/// Bits of a value that the first pass distinguishes, after the leading one.
const COARSE_BITS: u32 = 12;
/// Bits that each later pass adds.
const FINE_BITS: u32 = 16;
/// Larger values count as this one (9.7 hours), beyond which three passes would not resolve a
/// nanosecond.
pub(crate) const LARGEST: u64 = (1 << (COARSE_BITS + 2 * FINE_BITS + 1)) - 1;
const NO_SLOT: u16 = u16::MAX;

/// Order statistics of spans in nanoseconds, each with a weight.
#[derive(Debug)]
pub(crate) struct Quantiles {
    pass: usize,
    count: u64,
    total_ns: u128,
    max: u64,
    coarse: Vec<u64>,
    /// For each coarse bucket the entry of `fine` that divides it, or [`NO_SLOT`].
    slots: Vec<u16>,
    fine: Vec<Division>,
    wanted: Vec<Wanted>,
    percentiles: Vec<f64>,
}

/// A bucket that is being divided.
#[derive(Debug)]
struct Division {
    start: u64,
    /// Width of one cell is two to this power.
    shift: u32,
    cells: Vec<u64>,
}

/// A rank whose value is being narrowed down to `start..start + 2^shift`.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    rank: u64,
    /// Rank within the narrowed range.
    within: u64,
    start: u64,
    shift: u32,
}

impl Quantiles {
    /// Collects the given percentiles (0 to 100), the median and the largest value.
    pub(crate) fn new(percentiles: &[f64]) -> Self {
        Self {
            pass: 0,
            count: 0,
            total_ns: 0,
            max: 0,
            coarse: Vec::new(),
            slots: Vec::new(),
            fine: Vec::new(),
            wanted: Vec::new(),
            percentiles: percentiles.to_vec(),
        }
    }

    /// Adds `value` with this weight, as if it occurred `weight` times.
    pub(crate) fn add(&mut self, value: Nanos, weight: u64) {
        // Usually two passes resolve everything, and the third has nothing left to do.
        if weight == 0 || (self.pass > 0 && self.fine.is_empty()) {
            return;
        }
        let value = value.0.min(LARGEST);
        let bucket = coarse_bucket(value);
        if self.pass == 0 {
            if bucket >= self.coarse.len() {
                self.coarse.resize(bucket + 1, 0);
            }
            self.coarse[bucket] += weight;
            self.count += weight;
            self.total_ns += u128::from(value) * u128::from(weight);
            self.max = self.max.max(value);
            return;
        }
        let slot = self.slots[bucket];
        if slot == NO_SLOT {
            return;
        }
        // In the third pass one coarse bucket may have several divisions; they are adjacent.
        for division in &mut self.fine[usize::from(slot)..] {
            let Some(offset) = value.checked_sub(division.start) else {
                return;
            };
            if let Some(cell) = division.cells.get_mut((offset >> division.shift) as usize) {
                *cell += weight;
                return;
            }
        }
    }

    /// Ends a pass; the results are available after [`PASSES`] of them.
    pub(crate) fn end_pass(&mut self) {
        if self.pass == 0 {
            self.find_coarse();
        } else {
            self.find_fine();
        }
        self.divide();
        self.pass += 1;
    }

    /// Number of values, weights included.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Arithmetic mean in seconds.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.total_ns as f64 / self.count as f64 / 1e9
        }
    }

    /// The largest value in seconds.
    pub(crate) fn max(&self) -> f64 {
        Nanos(self.max).as_secs_f64()
    }

    /// The median in seconds, as NumPy's `median` computes it from the two middle values.
    pub(crate) fn median(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let half = self.count / 2;
        if self.count % 2 == 1 {
            self.at(half)
        } else {
            middle(self.at(half - 1), self.at(half))
        }
    }

    /// One of the requested percentiles, in seconds, as NumPy's `percentile` computes it.
    pub(crate) fn percentile(&self, p: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let position = Position::of(p, self.count as usize);
        position.between(
            self.at(position.lower as u64),
            self.at(position.upper as u64),
        )
    }

    fn at(&self, rank: u64) -> f64 {
        let found = self
            .wanted
            .binary_search_by_key(&rank, |wanted| wanted.rank);
        debug_assert!(found.is_ok(), "rank {rank} was not requested");
        let value = found.map_or(self.max, |index| self.wanted[index].start);
        Nanos(value).as_secs_f64()
    }

    fn find_coarse(&mut self) {
        if self.count == 0 {
            return;
        }
        let half = self.count / 2;
        let mut ranks = vec![half, half.saturating_sub(1)];
        for &p in &self.percentiles {
            let position = Position::of(p, self.count as usize);
            ranks.extend([position.lower as u64, position.upper as u64]);
        }
        ranks.sort_unstable();
        ranks.dedup();
        let mut before = 0;
        let mut ranks = ranks.into_iter().peekable();
        for (bucket, &held) in self.coarse.iter().enumerate() {
            while let Some(rank) = ranks.next_if(|&rank| rank < before + held) {
                let (start, shift) = coarse_range(bucket);
                self.wanted.push(Wanted {
                    rank,
                    within: rank - before,
                    start,
                    shift,
                });
            }
            before += held;
        }
        // Only the number of buckets is needed from here on.
        self.slots = vec![NO_SLOT; self.coarse.len()];
        self.coarse = Vec::new();
    }

    fn find_fine(&mut self) {
        for wanted in &mut self.wanted {
            if wanted.shift == 0 {
                continue;
            }
            let Some(division) = self
                .fine
                .iter()
                .find(|division| division.start == wanted.start)
            else {
                continue;
            };
            let mut before = 0;
            for (index, &held) in division.cells.iter().enumerate() {
                if wanted.within < before + held {
                    wanted.within -= before;
                    wanted.start = division.start + ((index as u64) << division.shift);
                    wanted.shift = division.shift;
                    break;
                }
                before += held;
            }
        }
    }

    /// Prepares cells for the ranges in which a wanted rank is not yet known to the nanosecond.
    fn divide(&mut self) {
        self.fine.clear();
        self.slots.fill(NO_SLOT);
        for wanted in &self.wanted {
            let known = self
                .fine
                .last()
                .is_some_and(|division| division.start == wanted.start);
            if wanted.shift == 0 || known {
                continue;
            }
            let bits = wanted.shift.min(FINE_BITS);
            let slot = &mut self.slots[coarse_bucket(wanted.start)];
            if *slot == NO_SLOT {
                *slot = self.fine.len() as u16;
            }
            let shift = wanted.shift - bits;
            self.fine.push(Division {
                start: wanted.start,
                shift,
                cells: vec![0; 1 << bits],
            });
        }
    }
}

pub(crate) fn coarse_bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(COARSE_BITS + 1);
    ((u64::from(shift) << COARSE_BITS) + (value >> shift)) as usize
}

/// First value of a coarse bucket, and its width as a power of two.
pub(crate) fn coarse_range(bucket: usize) -> (u64, u32) {
    let bucket = bucket as u64;
    let shift = (bucket >> COARSE_BITS).saturating_sub(1);
    ((bucket - (shift << COARSE_BITS)) << shift, shift as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::numpy;

    const PERCENTILES: [f64; 7] = [0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0];

    fn collect(values: &[u64]) -> Quantiles {
        let mut quantiles = Quantiles::new(&PERCENTILES);
        for _ in 0..PASSES {
            for &value in values {
                quantiles.add(Nanos(value), 1);
            }
            quantiles.end_pass();
        }
        quantiles
    }

    fn agrees_with_sorting(values: &[u64]) {
        let quantiles = collect(values);
        let mut sorted: Vec<f64> = values
            .iter()
            .map(|&value| Nanos(value).as_secs_f64())
            .collect();
        numpy::sort(&mut sorted);
        for p in PERCENTILES {
            assert_eq!(
                quantiles.percentile(p).to_bits(),
                numpy::percentile(&sorted, p).to_bits(),
                "p{p}"
            );
        }
        assert_eq!(
            quantiles.median().to_bits(),
            numpy::median(&sorted).to_bits()
        );
        assert_eq!(quantiles.max(), sorted[sorted.len() - 1]);
        assert_eq!(quantiles.count(), values.len() as u64);
    }

    #[test]
    fn buckets_cover_all_values_without_gaps() {
        for value in
            (0..20_000).chain((12..45).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]))
        {
            let (start, shift) = coarse_range(coarse_bucket(value));
            assert!(
                start <= value && value - start < 1 << shift,
                "{value}: {start} + 2^{shift}"
            );
        }
    }

    #[test]
    fn one_value_and_equal_values() {
        agrees_with_sorting(&[10_000_123]);
        agrees_with_sorting(&[10_000_123; 1000]);
        agrees_with_sorting(&[0, 0, 0]);
        agrees_with_sorting(&[3, 7_200_000_000_001]);
    }

    #[test]
    fn neighbours_within_one_coarse_bucket_are_distinguished() {
        // 100 s: a coarse bucket is 16.8 ms wide there, a cell of the second pass 256 ns.
        let values: Vec<u64> = (0..2000)
            .map(|i| 100_000_000_000 + (i * 7919 % 2000) * 13)
            .collect();
        agrees_with_sorting(&values);
    }

    #[test]
    fn no_values_give_zero() {
        let quantiles = collect(&[]);
        assert_eq!(
            (
                quantiles.percentile(99.0),
                quantiles.median(),
                quantiles.mean()
            ),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn a_weight_of_zero_adds_nothing() {
        let mut quantiles = Quantiles::new(&PERCENTILES);
        for _ in 0..PASSES {
            quantiles.add(Nanos(5), 0);
            quantiles.end_pass();
        }
        assert_eq!((quantiles.count(), quantiles.max()), (0, 0.0));
    }

    #[test]
    fn a_weight_counts_as_this_many_values() {
        let mut weighted = Quantiles::new(&PERCENTILES);
        for _ in 0..PASSES {
            for value in [5_000_000, 1_000_001, 9_000_000_003_u64] {
                weighted.add(Nanos(value), value % 7 + 1);
            }
            weighted.end_pass();
        }
        let spread: Vec<u64> = [5_000_000, 1_000_001, 9_000_000_003_u64]
            .into_iter()
            .flat_map(|value| std::iter::repeat_n(value, (value % 7 + 1) as usize))
            .collect();
        let plain = collect(&spread);
        for p in PERCENTILES {
            assert_eq!(weighted.percentile(p), plain.percentile(p));
        }
        assert_eq!(weighted.mean(), plain.mean());
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            values in prop::collection::vec(prop_oneof![
                0_u64..5000, 9_990_000_u64..10_010_000, 0_u64..1 << 33, 0_u64..1 << 44,
            ], 1..300),
        ) {
            agrees_with_sorting(&values);
        }
    }
}
