//! Random numbers: named streams of our own, and the generators of NumPy and Python bit for bit.
//!
//! Our own draws come from [`stream`]: each use has a name, so that adding a draw in one place
//! never shifts another. The compatible generators exist because vLLM's benchmark seeds them, and
//! "same seed, same prompts, same instants" must hold for people who switch.

mod legacy;
mod mt19937;
mod pcg64;
mod python;
mod python_hash;

pub use legacy::NumpyLegacy;
pub use pcg64::NumpyGenerator;
pub use python::PythonRandom;
pub use python_hash::PythonHash;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The generator behind [`stream`]: portable, and stable in its values across versions.
pub type StreamRng = ChaCha12Rng;

/// The random stream `name` of the run with seed `seed`.
///
/// Streams with different names or seeds are independent of one another.
pub fn stream(seed: u64, name: &str) -> StreamRng {
    StreamRng::from_seed(stream_seed(seed, name))
}

fn stream_seed(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The program's name at the time: with other bytes, every workload and schedule ever made would
    // change.
    hash.update(b"servebench stream v1\0");
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}

/// The stream for item `index` under `name`: lets items be generated on any thread in any order.
pub fn indexed_stream(seed: u64, name: &str, index: u64) -> StreamRng {
    let mut rng = stream(seed, name);
    rng.set_stream(index);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python:
    /// `hashlib.sha256(b"servebench stream v1\0" + (7).to_bytes(8, "little") + b"prompts").digest()`.
    /// The same seed has to give the same prompts and instants whatever the program is called.
    #[test]
    fn the_rename_of_the_program_left_the_random_streams_as_they_were() {
        assert_eq!(
            stream_seed(7, "prompts"),
            [
                186, 255, 124, 31, 97, 195, 214, 0, 95, 99, 15, 30, 247, 62, 170, 234, 224, 212,
                161, 203, 86, 3, 249, 98, 176, 211, 100, 167, 160, 61, 3, 137
            ]
        );
    }
}
