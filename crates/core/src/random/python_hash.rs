//! `hash(text)` of CPython 3.11 and later: SipHash-1-3 under the key that `PYTHONHASHSEED` sets.

/// The hashes of one value of `PYTHONHASHSEED`.
#[derive(Clone, Copy, Debug)]
pub struct PythonHash {
    key: [u64; 2],
}

impl PythonHash {
    /// The hashes under `PYTHONHASHSEED={seed}`; 0 is the key of zeros. (Without the variable every
    /// process draws a key of its own.)
    pub fn new(seed: u32) -> Self {
        if seed == 0 {
            return Self { key: [0, 0] };
        }
        // CPython's lcg_urandom: bits 16 to 23 of a linear congruential generator.
        let mut state = seed;
        let mut word = || {
            u64::from_le_bytes(std::array::from_fn(|_| {
                state = state.wrapping_mul(214_013).wrapping_add(2_531_011);
                (state >> 16) as u8
            }))
        };
        Self {
            key: [word(), word()],
        }
    }

    /// `hash(text)` as the 64 bits of Python's signed integer.
    pub fn of(self, text: &str) -> u64 {
        let hash = match text.chars().map(u32::from).max() {
            None => 0,
            // The bytes in memory: one, two or four for each character, by the widest.
            Some(..0x100) => self.sip(&wide(text, |c| [c as u8])),
            Some(..0x1_0000) => self.sip(&wide(text, |c| (c as u16).to_le_bytes())),
            Some(_) => self.sip(&wide(text, u32::to_le_bytes)),
        };
        // -1 is the sign of an error.
        if hash == u64::MAX { u64::MAX - 1 } else { hash }
    }

    fn sip(self, bytes: &[u8]) -> u64 {
        let [k0, k1] = self.key;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let last = u64::from_le_bytes(last) | (bytes.len() as u64) << 56;
        for word in words
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .chain([last])
        {
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn wide<const N: usize>(text: &str, bytes: impl Fn(u32) -> [u8; N]) -> Vec<u8> {
    text.chars().flat_map(|c| bytes(u32::from(c))).collect()
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `PYTHONHASHSEED={seed} python3.11 -c 'print(hash(text) & 0xFFFFFFFFFFFFFFFF)'`.
    #[test]
    fn hashes_are_pythons() {
        let texts = [
            "",
            "7:16",
            "abc:3",
            "é:1",
            "你:2",
            "🙂:4",
            "aaaaaaaaaaaaaaaaaaaa",
        ];
        let golden: [(u32, [u64; 7]); 3] = [
            (
                0,
                [
                    0,
                    176_705_773_863_358_892,
                    13_438_808_238_649_878_653,
                    6_742_549_230_992_606_287,
                    14_922_399_933_614_730_089,
                    15_903_029_881_362_725_598,
                    3_291_541_819_775_287_794,
                ],
            ),
            (
                1,
                [
                    0,
                    11_187_375_049_992_930_235,
                    7_136_288_801_853_567_817,
                    11_551_151_770_374_651_053,
                    16_794_653_519_890_902_363,
                    9_783_510_011_316_541_150,
                    6_515_188_088_311_800_068,
                ],
            ),
            (
                42,
                [
                    0,
                    16_496_100_861_428_542_707,
                    15_666_519_654_577_669_830,
                    17_753_950_585_133_174_602,
                    1_457_443_057_776_089_927,
                    17_218_961_587_365_888_811,
                    1_074_132_530_334_861_433,
                ],
            ),
        ];
        for (seed, hashes) in golden {
            assert_eq!(texts.map(|text| PythonHash::new(seed).of(text)), hashes);
        }
    }
}
