//! `numpy.random.default_rng(seed)`: PCG64 seeded by `SeedSequence`, bit for bit.

/// Multiplier of the 128-bit linear congruential step.
const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

/// The same numbers as `numpy.random.default_rng(seed)` for the draws that are offered here.
#[derive(Clone, Debug)]
pub struct NumpyGenerator {
    state: u128,
    increment: u128,
    /// Upper half of the last 64-bit draw, kept for the next 32-bit draw.
    half: Option<u32>,
}

impl NumpyGenerator {
    /// `default_rng(seed)`.
    pub fn new(seed: u64) -> Self {
        let [a0, a1, a2, a3] = seed_sequence(seed);
        let initial = (u128::from(a0) << 64) | u128::from(a1);
        let increment = (((u128::from(a2) << 64) | u128::from(a3)) << 1) | 1;
        let mut generator = Self {
            state: 0,
            increment,
            half: None,
        };
        generator.step();
        generator.state = generator.state.wrapping_add(initial);
        generator.step();
        generator
    }

    /// The next 64 bits. A kept half stays for the next 32-bit draw, as in NumPy.
    pub fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = ((self.state >> 64) as u64) ^ (self.state as u64);
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The next 32 bits: the lower half of a 64-bit draw first, then the upper half.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let both = self.next_u64();
        self.half = Some((both >> 32) as u32);
        both as u32
    }

    /// `random()`: a double in [0, 1).
    pub fn random(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `uniform(low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// `integers(low, high)`: uniform in `low..high`. Panics when the range is empty.
    pub fn integers(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "integers({low}, {high}): the range is empty");
        let range = high.wrapping_sub(1).wrapping_sub(low) as u64;
        low.wrapping_add(self.bounded(range) as i64)
    }

    /// `integers(low, high, size=n)`: the same numbers as `n` scalar draws.
    pub fn integers_vec(&mut self, low: i64, high: i64, n: usize) -> Vec<i64> {
        (0..n).map(|_| self.integers(low, high)).collect()
    }

    /// `integers(low, high, size=n, dtype=numpy.uint8)`: uses eight bits a draw, so it is another
    /// stream than [`NumpyGenerator::integers_vec`]. `high` may be 256. Panics when the range is
    /// empty or too large.
    pub fn integers_u8(&mut self, low: u8, high: u16, n: usize) -> Vec<u8> {
        assert!(
            u16::from(low) < high && high <= 256,
            "integers_u8({low}, {high}): no such range"
        );
        let range = (high - 1) as u8 - low;
        if range == 0 {
            return vec![low; n];
        }
        let mut bytes = Bytes::default();
        if range == u8::MAX {
            return (0..n).map(|_| bytes.next(self)).collect();
        }
        let width = u16::from(range) + 1;
        let threshold = u16::from(u8::MAX - range) % width;
        (0..n)
            .map(|_| {
                loop {
                    let product = u16::from(bytes.next(self)) * width;
                    // Lemire's test; the threshold is below the width, so that one comparison does
                    // both of his.
                    if product & 0xff >= threshold {
                        return low + (product >> 8) as u8;
                    }
                }
            })
            .collect()
    }

    /// The index that `choice(len(p), p=p)` draws. The weights need not sum to one: they are
    /// divided by their sum as NumPy divides its cumulative sum. Panics when there are none.
    pub fn choice_weighted(&mut self, p: &[f64]) -> usize {
        assert!(!p.is_empty(), "choice_weighted needs at least one weight");
        let mut sum = 0.0;
        let mut cdf: Vec<f64> = p
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        for value in &mut cdf {
            *value /= sum;
        }
        let u = self.random();
        cdf.partition_point(|&value| value <= u).min(p.len() - 1)
    }

    /// `shuffle(items)` for a list or a one-dimensional array.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.interval(i as u64) as usize;
            items.swap(i, j);
        }
    }

    /// `permutation(n)`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(self.increment);
    }

    /// Uniform in `0..=max` by masked rejection, which NumPy kept for shuffling.
    fn interval(&mut self, max: u64) -> u64 {
        if max == 0 {
            return 0;
        }
        let mask = u64::MAX >> max.leading_zeros();
        loop {
            let bits = if u32::try_from(max).is_ok() {
                u64::from(self.next_u32())
            } else {
                self.next_u64()
            };
            if bits & mask <= max {
                return bits & mask;
            }
        }
    }

    /// Uniform in `0..=range` by Lemire's method, in 32 bits where the range allows.
    fn bounded(&mut self, range: u64) -> u64 {
        if range == 0 {
            return 0;
        }
        if let Ok(range) = u32::try_from(range) {
            let Some(width) = range.checked_add(1) else {
                return u64::from(self.next_u32());
            };
            let threshold = (u32::MAX - range) % width;
            loop {
                let product = u64::from(self.next_u32()) * u64::from(width);
                if product as u32 >= threshold {
                    return product >> 32;
                }
            }
        }
        let Some(width) = range.checked_add(1) else {
            return self.next_u64();
        };
        let threshold = (u64::MAX - range) % width;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(width);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }
}

/// Four bytes from each 32-bit draw, the lowest first; NumPy starts anew with each array.
#[derive(Default)]
struct Bytes {
    word: u32,
    left: u8,
}

impl Bytes {
    fn next(&mut self, generator: &mut NumpyGenerator) -> u8 {
        if self.left == 0 {
            self.word = generator.next_u32();
            self.left = 3;
        } else {
            self.word >>= 8;
            self.left -= 1;
        }
        self.word as u8
    }
}

/// `SeedSequence(seed).generate_state(4, uint64)` with a pool of four words (M. E. O'Neill's
/// seed_seq).
fn seed_sequence(seed: u64) -> [u64; 4] {
    let mut hash_const = 0x43b0_d7e5_u32;
    let mut hash_mix = |value: u32| {
        let mut value = value ^ hash_const;
        hash_const = hash_const.wrapping_mul(0x931e_8875);
        value = value.wrapping_mul(hash_const);
        value ^ (value >> 16)
    };
    // The words of the seed, least significant first; missing words count as zero.
    let mut pool = [
        hash_mix(seed as u32),
        hash_mix((seed >> 32) as u32),
        hash_mix(0),
        hash_mix(0),
    ];
    for source in 0..4 {
        for target in 0..4 {
            if source != target {
                let hashed = hash_mix(pool[source]);
                let mixed = 0xca01_f9dd_u32
                    .wrapping_mul(pool[target])
                    .wrapping_sub(0x4973_f715_u32.wrapping_mul(hashed));
                pool[target] = mixed ^ (mixed >> 16);
            }
        }
    }
    let mut hash_const = 0x8b51_f9dd_u32;
    let mut words = [0_u32; 8];
    for (i, word) in words.iter_mut().enumerate() {
        let mut value = pool[i % 4] ^ hash_const;
        hash_const = hash_const.wrapping_mul(0x58f3_8ded);
        value = value.wrapping_mul(hash_const);
        *word = value ^ (value >> 16);
    }
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}
