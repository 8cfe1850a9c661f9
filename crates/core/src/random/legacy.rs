//! `numpy.random.seed(seed)` and `numpy.random.RandomState(seed)`, bit for bit.
//!
//! Logarithms and powers come from the platform's mathematical library, as they do for NumPy; with
//! another library the last bit of a draw may differ.

use super::mt19937::Mt19937;

/// The same numbers as NumPy's legacy generator for the draws that are offered here.
#[derive(Clone, Debug)]
pub struct NumpyLegacy {
    twister: Mt19937,
    /// Second value of the last polar pair.
    gauss: Option<f64>,
}

impl NumpyLegacy {
    /// `RandomState(seed)`. NumPy refuses seeds above 2³² − 1.
    pub fn new(seed: u32) -> Self {
        Self {
            twister: Mt19937::from_word(seed),
            gauss: None,
        }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.twister.next_u32()
    }

    /// `random_sample()`: a double in [0, 1).
    pub fn random_sample(&mut self) -> f64 {
        self.twister.next_f64()
    }

    /// `standard_exponential()`.
    pub fn standard_exponential(&mut self) -> f64 {
        -(1.0 - self.random_sample()).ln()
    }

    /// `standard_normal()`, by the polar method with the second value kept.
    pub fn gauss(&mut self) -> f64 {
        if let Some(kept) = self.gauss.take() {
            return kept;
        }
        loop {
            let x1 = 2.0 * self.random_sample() - 1.0;
            let x2 = 2.0 * self.random_sample() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let f = (-2.0 * r2.ln() / r2).sqrt();
                self.gauss = Some(f * x1);
                return f * x2;
            }
        }
    }

    /// `gamma(shape, scale)`.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        scale * self.standard_gamma(shape)
    }

    /// `exponential(scale)`.
    pub fn exponential(&mut self, scale: f64) -> f64 {
        scale * self.standard_exponential()
    }

    /// `normal(mean, deviation)`.
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.gauss()
    }

    /// `uniform(low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random_sample()
    }

    /// `standard_gamma(shape)`: exponential for 1, rejection (Ahrens and Dieter) below, Marsaglia
    /// and Tsang above. A shape of zero gives zero.
    pub fn standard_gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            self.standard_exponential()
        } else if shape == 0.0 {
            0.0
        } else if shape < 1.0 {
            self.gamma_below_one(shape)
        } else {
            self.gamma_above_one(shape)
        }
    }

    /// `randint(low, high)`: uniform in `low..high`, by masked rejection. Panics when the range is
    /// empty.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "randint({low}, {high}): the range is empty");
        let range = high.wrapping_sub(1).wrapping_sub(low) as u64;
        low.wrapping_add(self.bounded(range) as i64)
    }

    /// `randint(low, high, size=n)`.
    pub fn randint_vec(&mut self, low: i64, high: i64, n: usize) -> Vec<i64> {
        (0..n).map(|_| self.randint(low, high)).collect()
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.bounded(i as u64) as usize;
            items.swap(i, j);
        }
    }

    /// `permutation(n)`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// `choice(n, size, replace)` with equal weights. With a fresh `RandomState(seed)` these are
    /// the row numbers of pandas' `DataFrame.sample(size, replace=…, random_state=seed)`.
    ///
    /// Panics when rows are wanted from nothing, or more than there are without replacement.
    pub fn choice(&mut self, n: usize, size: usize, replace: bool) -> Vec<usize> {
        if replace {
            return (0..size)
                .map(|_| self.randint(0, n as i64) as usize)
                .collect();
        }
        assert!(
            size <= n,
            "choice({n}, {size}) without replacement: not enough items"
        );
        let mut order = self.permutation(n);
        order.truncate(size);
        order
    }

    /// Uniform in `0..=range`: draws under the smallest mask that holds `range` until one fits.
    fn bounded(&mut self, range: u64) -> u64 {
        if range == 0 {
            return 0;
        }
        let mask = u64::MAX >> range.leading_zeros();
        loop {
            let bits = if u32::try_from(range).is_ok() {
                u64::from(self.next_u32())
            } else {
                let high = u64::from(self.next_u32());
                (high << 32) | u64::from(self.next_u32())
            };
            if bits & mask <= range {
                return bits & mask;
            }
        }
    }

    fn gamma_below_one(&mut self, shape: f64) -> f64 {
        loop {
            let u = self.random_sample();
            let v = self.standard_exponential();
            if u <= 1.0 - shape {
                let x = u.powf(1.0 / shape);
                if x <= v {
                    return x;
                }
            } else {
                let y = -((1.0 - u) / shape).ln();
                let x = (1.0 - shape + shape * y).powf(1.0 / shape);
                if x <= v + y {
                    return x;
                }
            }
        }
    }

    #[expect(
        clippy::many_single_char_names,
        reason = "the names of the published method"
    )]
    fn gamma_above_one(&mut self, shape: f64) -> f64 {
        let b = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * b).sqrt();
        loop {
            let (x, v) = loop {
                let x = self.gauss();
                let v = 1.0 + c * x;
                if v > 0.0 {
                    break (x, v);
                }
            };
            let v = v * v * v;
            let u = self.random_sample();
            if u < 1.0 - 0.0331 * (x * x) * (x * x) || u.ln() < 0.5 * x * x + b * (1.0 - v + v.ln())
            {
                return b * v;
            }
        }
    }
}
