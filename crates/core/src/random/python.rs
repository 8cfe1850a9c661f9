//! Python's `random.seed(int)` and what is drawn after it, bit for bit.

use super::mt19937::Mt19937;

/// The same numbers as CPython's `random.Random(seed)` for the draws that are offered here.
#[derive(Clone, Debug)]
pub struct PythonRandom {
    twister: Mt19937,
}

impl PythonRandom {
    /// `Random(seed)`. Python takes the absolute value of a negative seed.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let used = if words[1] == 0 { 1 } else { 2 };
        Self {
            twister: Mt19937::from_key(&words[..used]),
        }
    }

    /// `random()`: a double in [0, 1).
    pub fn random(&mut self) -> f64 {
        self.twister.next_f64()
    }

    /// `getrandbits(bits)` for up to 64 bits. Panics beyond.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        assert!(
            bits <= 64,
            "getrandbits({bits}): at most 64 bits are supported"
        );
        if bits == 0 {
            return 0;
        }
        let low = u64::from(self.twister.next_u32());
        if bits <= 32 {
            return low >> (32 - bits);
        }
        let high = u64::from(self.twister.next_u32() >> (64 - bits));
        (high << 32) | low
    }

    /// `_randbelow(n)`: uniform in `0..n`. Panics for zero.
    pub fn randbelow(&mut self, n: usize) -> usize {
        assert!(n > 0, "randbelow(0): the range is empty");
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let draw = self.getrandbits(bits) as usize;
            if draw < n {
                return draw;
            }
        }
    }

    /// `randint(low, high)`, both ends included. Panics when `high < low`.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "randint({low}, {high}): the range is empty");
        let width = high.wrapping_sub(low).wrapping_add(1) as usize;
        low.wrapping_add(self.randbelow(width) as i64)
    }

    /// `uniform(low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.randbelow(i + 1);
            items.swap(i, j);
        }
    }

    /// `choice(items)`. Panics when there are none.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.randbelow(items.len())]
    }

    /// Indices that `choices(range(n), k=k)` draws. Panics when `n` is zero and `k` is not.
    pub fn choices(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(n > 0 || k == 0, "choices from nothing");
        (0..k)
            .map(|_| (self.random() * n as f64) as usize)
            .collect()
    }

    /// Indices that `choices(items, weights, k=k)` draws. Panics when the weights do not sum to
    /// more than 0.
    pub fn choices_weighted(&mut self, weights: &[f64], k: usize) -> Vec<usize> {
        let mut total = 0.0;
        let cumulative: Vec<f64> = weights
            .iter()
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        assert!(
            total > 0.0,
            "choices_weighted: the weights must sum to more than zero"
        );
        // Python's bisect never looks at the last entry, so that rounding cannot step past the end.
        let searched = &cumulative[..cumulative.len() - 1];
        (0..k)
            .map(|_| {
                let target = self.random() * total;
                searched.partition_point(|&bound| bound <= target)
            })
            .collect()
    }

    /// Indices that `sample(range(n), k)` draws, all different. Panics when `k > n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "sample({n}, {k}): not enough items");
        // Python picks between two algorithms by the memory that each would need, and they draw
        // differently.
        let mut set_size = 21.0;
        if k > 5 {
            let steps = ((k * 3) as f64).ln() / 4.0_f64.ln();
            set_size += 4.0_f64.powi(steps.ceil() as i32);
        }
        if n as f64 <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|i| {
                    let j = self.randbelow(n - i);
                    let picked = pool[j];
                    pool[j] = pool[n - i - 1];
                    picked
                })
                .collect();
        }
        let mut taken = std::collections::HashSet::new();
        (0..k)
            .map(|_| {
                loop {
                    let j = self.randbelow(n);
                    if taken.insert(j) {
                        return j;
                    }
                }
            })
            .collect()
    }
}
