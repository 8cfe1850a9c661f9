//! Which tool's behaviour a run follows where vLLM's benchmark and inferometer differ.

use std::fmt;
use std::str::FromStr;

use inferometer_core::python::float_repr;
use inferometer_wire::Counting;
use inferometer_workload::TimedTraceSettings;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The newest version of vLLM whose benchmark is known: 0.NEWEST.
const NEWEST: u16 = 33;
/// The oldest version whose script is known: 0.OLDEST.
const OLDEST: u16 = 6;

/// Which tool's behaviour to follow where vLLM's benchmark and inferometer differ (`--compat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// inferometer's own.
    #[default]
    Native,
    /// That of vLLM 0.N.
    Vllm(u16),
}

impl Compat {
    /// The behaviour of the newest known version of vLLM.
    pub const NEWEST: Self = Self::Vllm(NEWEST);

    /// True for the behaviour of any version of vLLM.
    pub fn is_vllm(self) -> bool {
        self != Self::Native
    }

    fn before(self, version: u16) -> bool {
        matches!(self, Self::Vllm(own) if own < version)
    }

    /// True where `temperature` 0 is sent in generation requests that set none: until January 2026.
    pub fn sends_temperature_zero(self) -> bool {
        self.before(15)
    }

    /// Seconds to wait for the server to answer a first request: 600 until January 2026, then 0.
    pub fn ready_check_seconds(self) -> u64 {
        if self.before(15) { 600 } else { 0 }
    }

    /// True where the last throughput row is "Total Token throughput (tok/s)" until December 2025.
    pub fn has_old_total_label(self) -> bool {
        self.before(13)
    }

    /// True for the legacy script, `benchmark_serving.py`, with its own defaults.
    pub fn is_legacy_script(self) -> bool {
        self.before(11)
    }

    /// Which messages of an answer are token events. vLLM's client leaves the opening message of a
    /// chat out since 0.33.
    pub fn counting(self) -> Counting {
        match self {
            Self::Native => Counting::Output,
            Self::Vllm(_) if self.before(33) => Counting::VllmEveryChoice,
            Self::Vllm(_) => Counting::Vllm,
        }
    }

    /// True where prompts are aligned with the server's tokenizer: vLLM does that since June 2026 (pull
    /// request 44708), which 0.23 is the first version to have.
    pub fn aligns_prompts(self) -> bool {
        self.is_vllm() && !self.before(23)
    }

    /// `--backend` when it is not given.
    pub fn default_backend(self) -> &'static str {
        if self.is_legacy_script() {
            "vllm"
        } else {
            "openai"
        }
    }

    /// `--dataset-name` when it is not given.
    pub fn default_dataset(self) -> &'static str {
        if self.is_legacy_script() {
            "sharegpt"
        } else {
            "random"
        }
    }
}

impl FromStr for Compat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || {
            format!(
                "expected native, vllm (the same as vllm-0.{NEWEST}), or vllm-0.{OLDEST} to vllm-0.{NEWEST}"
            )
        };
        match text {
            "native" => return Ok(Self::Native),
            "vllm" => return Ok(Self::NEWEST),
            _ => {}
        }
        let version = text.strip_prefix("vllm-").ok_or_else(known)?;
        let mut parts = version.trim_start_matches('v').split('.');
        let (Some("0"), Some(Ok(minor))) = (parts.next(), parts.next().map(str::parse::<u16>))
        else {
            return Err(known());
        };
        if (OLDEST..=NEWEST).contains(&minor) {
            Ok(Self::Vllm(minor))
        } else {
            Err(known())
        }
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Vllm(version) => write!(f, "vllm-0.{version}"),
        }
    }
}

impl Serialize for Compat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// vLLM's message after reading a timed_trace.
pub(crate) fn trace_line(trace: &TimedTraceSettings) -> String {
    format!(
        "timed-trace: chunk_size: {}, sec_multiplier: {}, label_ts: \"{}\", label_input_length: \"{}\", \
         label_output_length: \"{}\", label_hash_ids: \"{}\"",
        trace.chunk_hash_size,
        float_repr(trace.sec_multiplier),
        trace.label_timestamp,
        trace.label_input_length,
        trace.label_output_length,
        trace.label_hash_ids,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// vLLM's pull request 44708 is of June 2026; 0.22 was released before it.
    #[test]
    fn prompts_are_aligned_from_the_version_on_that_does_so() {
        for (compat, aligns) in [
            (Compat::Native, false),
            (Compat::Vllm(10), false),
            (Compat::Vllm(22), false),
            (Compat::Vllm(23), true),
            (Compat::NEWEST, true),
        ] {
            assert_eq!(compat.aligns_prompts(), aligns, "{compat}");
        }
    }

    #[test]
    fn versions_are_named_as_people_write_them() {
        assert_eq!("vllm".parse(), Ok(Compat::NEWEST));
        assert_eq!("native".parse(), Ok(Compat::Native));
        for text in ["vllm-0.10", "vllm-0.10.2", "vllm-v0.10"] {
            assert_eq!(text.parse(), Ok(Compat::Vllm(10)), "{text}");
        }
        for text in [
            "vllm-",
            "vllm-1.0",
            "vllm-0.5",
            "vllm-0.99",
            "vLLM",
            "sglang",
            "",
        ] {
            assert!(
                text.parse::<Compat>().unwrap_err().contains("vllm-0.33"),
                "{text}"
            );
        }
    }

    #[test]
    fn old_versions_behave_as_they_did_and_new_ones_differ() {
        let (old, new) = (Compat::Vllm(10), Compat::NEWEST);
        assert!(
            old.sends_temperature_zero() && old.has_old_total_label() && old.is_legacy_script()
        );
        assert_eq!(
            (old.ready_check_seconds(), old.default_dataset()),
            (600, "sharegpt")
        );
        assert!(
            !(new.sends_temperature_zero() || new.has_old_total_label() || new.is_legacy_script())
        );
        assert_eq!(
            (new.ready_check_seconds(), new.default_backend()),
            (0, "openai")
        );
        assert!(!Compat::Native.sends_temperature_zero());
        assert_eq!(
            [Compat::Native, Compat::Vllm(32), new].map(Compat::counting),
            [Counting::Output, Counting::VllmEveryChoice, Counting::Vllm]
        );
    }
}
