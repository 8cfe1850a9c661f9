//! Engine settings for well-known models on well-known GPUs, from public data sheets.

use std::fmt;
use std::str::FromStr;

use inferometer_core::suggest::meant;

use super::{EngineConfig, StepCost};

/// A model's numbers from its published configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Name in presets.
    pub name: &'static str,
    /// Parameters, in billions (10⁹).
    pub parameters_e9: f64,
    /// Layers.
    pub layers: u32,
    /// Heads for keys and values in each layer.
    pub kv_heads: u32,
    /// Numbers in a head.
    pub head_size: u32,
    /// Longest context.
    pub max_model_len: u32,
}

/// A GPU's numbers from its data sheet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// Name in presets.
    pub name: &'static str,
    /// Memory bandwidth in GB/s.
    pub bandwidth_gb_s: f64,
    /// Dense 16-bit arithmetic in TFLOP/s (without sparsity).
    pub tflops: f64,
    /// Memory in GB.
    pub memory_gb: f64,
}

/// Models that presets know.
pub const MODELS: &[Model] = &[
    model("llama-3.2-1b", 1.24, 16, 8, 64),
    model("llama-3.1-8b", 8.03, 32, 8, 128),
    model("llama-3.1-70b", 70.6, 80, 8, 128),
    model("qwen2.5-7b", 7.62, 28, 4, 128),
    model("qwen2.5-32b", 32.8, 64, 8, 128),
];

/// GPUs that presets know.
pub const GPUS: &[Gpu] = &[
    gpu("l4", 300.0, 121.0, 24.0),
    gpu("a10", 600.0, 125.0, 24.0),
    gpu("rtx-4090", 1008.0, 165.0, 24.0),
    gpu("a100", 2039.0, 312.0, 80.0),
    gpu("h100", 3350.0, 989.0, 80.0),
    gpu("h200", 4800.0, 989.0, 141.0),
    gpu("mi300x", 5300.0, 1307.0, 192.0),
    gpu("b200", 8000.0, 2250.0, 180.0),
];

const fn model(
    name: &'static str,
    parameters_e9: f64,
    layers: u32,
    kv_heads: u32,
    head_size: u32,
) -> Model {
    Model {
        name,
        parameters_e9,
        layers,
        kv_heads,
        head_size,
        max_model_len: 131_072,
    }
}

const fn gpu(name: &'static str, bandwidth_gb_s: f64, tflops: f64, memory_gb: f64) -> Gpu {
    Gpu {
        name,
        bandwidth_gb_s,
        tflops,
        memory_gb,
    }
}

/// Fraction of the data sheet's bandwidth that large reads reach: a rule of thumb, not measured.
const BANDWIDTH_FRACTION: f64 = 0.75;
/// Fraction of the data sheet's arithmetic that matrix products reach: a rule of thumb, not
/// measured.
const ARITHMETIC_FRACTION: f64 = 0.5;
/// Fraction of the memory that the server takes: vLLM's default `--gpu-memory-utilization`.
const MEMORY_FRACTION: f64 = 0.9;
/// Fraction of what the weights leave that activations and buffers take: a rule of thumb.
const ACTIVATION_FRACTION: f64 = 0.1;
/// Host time of a step: scheduling, launching, sampling (nanoseconds).
const HOST_STEP: f64 = 1.5e6;
/// Host time of a step for each sequence: sampling, detokenising, sending (nanoseconds).
const HOST_SEQUENCE: f64 = 15_000.0;
/// Time of one all-reduce of a small activation over fast links (nanoseconds); two per layer.
const ALL_REDUCE: f64 = 10_000.0;
/// Bytes of a 16-bit number.
const BYTES: f64 = 2.0;

/// A model on a number of equal GPUs, written `MODEL@GPU` or `MODEL@GPUxN`: `llama-3.1-70b@h100x4`.
///
/// Every number follows from the two tables by rules of thumb; none was measured:
///
/// - base = weights / (0.75 · bandwidth) + 1.5 ms host work + two all-reduces per layer when N > 1;
/// - prefill = 2 · parameters / (0.5 · arithmetic);
/// - decode = prefill + 15 µs host work;
/// - kv = bytes of keys and values of a token / (0.75 · bandwidth);
/// - blocks = (0.9 · memory − weights) · 0.9 / bytes of a block of 16 tokens.
///
/// Weights, arithmetic, bandwidth and memory are shared evenly by the N GPUs; numbers have 16 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// The model.
    pub model: &'static Model,
    /// The GPU.
    pub gpu: &'static Gpu,
    /// Number of GPUs (tensor parallelism).
    pub gpus: u32,
}

/// Why a text is not a preset.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PresetError {
    /// Not of the form MODEL@GPU.
    #[error("unknown preset `{0}`: expected MODEL@GPU or MODEL@GPUxN, such as llama-3.1-8b@h100")]
    Form(String),
    /// Unknown model.
    #[error("unknown model `{0}` in the preset: expected one of {models}{meant}", models = list(MODELS.iter().map(|m| m.name)), meant = meant(.0, MODELS.iter().map(|m| m.name)))]
    Model(String),
    /// Unknown GPU.
    #[error("unknown GPU `{0}` in the preset: expected one of {gpus}{meant}", gpus = list(GPUS.iter().map(|g| g.name)), meant = meant(.0, GPUS.iter().map(|g| g.name)))]
    Gpu(String),
    /// The weights leave no room for a KV cache.
    #[error(
        "{preset} does not fit: {weights_gb:.0} GB of weights in {memory_gb:.0} GB of memory; use more GPUs"
    )]
    TooLarge {
        /// The preset.
        preset: String,
        /// Weights.
        weights_gb: f64,
        /// Memory that the server may take.
        memory_gb: f64,
    },
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || PresetError::Form(text.into());
        let (model_name, rest) = text.split_once('@').ok_or_else(form)?;
        // The names themselves hold an x (mi300x), so that only digits after the last one are a
        // number.
        let counted = rest.rsplit_once('x').filter(|(_, digits)| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let (gpu_name, gpus) = match counted {
            Some((name, digits)) => {
                let gpus = digits.parse().ok().filter(|gpus| (1..=1024).contains(gpus));
                (name, gpus.ok_or_else(form)?)
            }
            None => (rest, 1),
        };
        let model = MODELS.iter().find(|model| model.name == model_name);
        let gpu = GPUS.iter().find(|gpu| gpu.name == gpu_name);
        let preset = Self {
            model: model.ok_or_else(|| PresetError::Model(model_name.into()))?,
            gpu: gpu.ok_or_else(|| PresetError::Gpu(gpu_name.into()))?,
            gpus,
        };
        preset.engine()?;
        Ok(preset)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model.name, self.gpu.name)?;
        if self.gpus > 1 {
            write!(f, "x{}", self.gpus)
        } else {
            Ok(())
        }
    }
}

impl Preset {
    /// Bytes of keys and values of one token.
    pub fn kv_bytes_per_token(&self) -> f64 {
        let model = self.model;
        // Keys and values.
        2.0 * f64::from(model.layers)
            * f64::from(model.kv_heads)
            * f64::from(model.head_size)
            * BYTES
    }

    /// The engine's settings.
    ///
    /// # Errors
    ///
    /// A model whose weights leave too little of the memory for a cache.
    pub fn engine(&self) -> Result<EngineConfig, PresetError> {
        let n = f64::from(self.gpus);
        let weights = self.model.parameters_e9 * 1e9 * BYTES;
        let memory = self.gpu.memory_gb * 1e9 * n * MEMORY_FRACTION;
        let bandwidth = self.gpu.bandwidth_gb_s * 1e9 * n * BANDWIDTH_FRACTION;
        let arithmetic = self.gpu.tflops * 1e12 * n * ARITHMETIC_FRACTION;
        let room = (memory - weights) * (1.0 - ACTIVATION_FRACTION);
        let block_size = 16;
        let block_bytes = self.kv_bytes_per_token() * f64::from(block_size);
        let num_blocks = (room / block_bytes).floor();
        if num_blocks < 64.0 {
            return Err(PresetError::TooLarge {
                preset: self.to_string(),
                weights_gb: weights / 1e9,
                memory_gb: memory / 1e9,
            });
        }
        let links = if self.gpus > 1 {
            2.0 * f64::from(self.model.layers) * ALL_REDUCE
        } else {
            0.0
        };
        let prefill = 2.0 * self.model.parameters_e9 * 1e9 / arithmetic * 1e9;
        let cost = StepCost {
            base: weights / bandwidth * 1e9 + HOST_STEP + links,
            prefill,
            decode: prefill + HOST_SEQUENCE,
            kv: self.kv_bytes_per_token() / bandwidth * 1e9,
            jitter: 0.02,
        };
        let num_blocks = num_blocks as usize;
        let max_model_len = self.model.max_model_len.min(
            u32::try_from(num_blocks)
                .unwrap_or(u32::MAX)
                .saturating_mul(block_size),
        );
        Ok(EngineConfig {
            max_model_len,
            block_size,
            num_blocks,
            cost,
            ..EngineConfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_that_fits_makes_a_valid_engine() {
        for model in MODELS {
            for gpu in GPUS {
                for gpus in [1, 8] {
                    let preset = Preset { model, gpu, gpus };
                    match preset.engine() {
                        Ok(config) => {
                            config.check().unwrap();
                            assert_eq!(preset.to_string().parse(), Ok(preset));
                        }
                        Err(error) => assert_eq!(preset.to_string().parse::<Preset>(), Err(error)),
                    }
                }
            }
        }
    }

    #[test]
    fn the_numbers_follow_from_the_data_sheets() {
        let config = "llama-3.1-8b@h100"
            .parse::<Preset>()
            .unwrap()
            .engine()
            .unwrap();
        // 16.06 GB over 2.5125 TB/s is 6.39 ms, and 1.5 ms for the host.
        assert!(
            (config.cost.base / 1e6 - 7.892).abs() < 0.01,
            "{:?}",
            config.cost
        );
        // 16.06 GFLOP over 494.5 TFLOP/s.
        assert!((config.cost.prefill / 1e3 - 32.48).abs() < 0.01);
        // 131,072 bytes over 2.5125 TB/s.
        assert!((config.cost.kv - 52.17).abs() < 0.01);
        // (72 - 16.06) GB · 0.9 over 2 MiB.
        assert_eq!(config.num_blocks, 24_006);
    }

    #[test]
    fn an_unknown_preset_is_named_in_the_error() {
        for (text, part) in [
            ("llama", "MODEL@GPU"),
            ("gpt@h100", "llama-3.1-8b"),
            ("llama-3.1-8b@rtx", "mi300x"),
            ("llama-3.1-8b@h100x0", "MODEL@GPU"),
            ("llama-3.1-70b@h100", "does not fit"),
        ] {
            let error = text.parse::<Preset>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
