//! Random numbers: named streams of our own, and the generators of NumPy and Python bit for bit.
//!
//! Our own draws come from [`stream`]: each use has a name, so that adding a draw in one place never
//! shifts another. The compatible generators exist because vLLM's benchmark seeds them, and "same seed,
//! same prompts, same instants" must hold for people who switch.

mod legacy;
mod mt19937;
mod pcg64;
mod python;

pub use legacy::NumpyLegacy;
pub use pcg64::NumpyGenerator;
pub use python::PythonRandom;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The generator behind [`stream`]: portable, and stable in its values across versions.
pub type StreamRng = ChaCha12Rng;

/// The random stream `name` of the run with seed `seed`.
///
/// Streams with different names or seeds are independent of one another.
pub fn stream(seed: u64, name: &str) -> StreamRng {
    let mut hash = Sha256::new();
    hash.update(b"servebench stream v1\0");
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    StreamRng::from_seed(hash.finalize().into())
}

/// The stream for item `index` under `name`: lets items be generated on any thread in any order.
pub fn indexed_stream(seed: u64, name: &str, index: u64) -> StreamRng {
    let mut rng = stream(seed, name);
    rng.set_stream(index);
    rng
}
