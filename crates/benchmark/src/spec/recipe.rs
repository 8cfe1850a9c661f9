//! What a run was to measure, in the form that its result keeps: the settings that another run must share to
//! be compared with it.

use inferometer_core::hex;
use inferometer_core::redact::redact_json;
use inferometer_decide::{flatten, is_below};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{RunFacts, RunSpec};

/// Settings that decide where a run is made and how the client works, not what is measured; a name covers
/// all below it.
const NOT_MEASURED: [&str; 18] = [
    "target.base_urls",
    "target.headers",
    "load.workers",
    "load.pin",
    "load.profile",
    "load.ready_check_s",
    "workload.salt",
    "connection.balance",
    "connection.connect",
    "connection.connect_timeout_s",
    "connection.first_byte_timeout_s",
    "connection.idle_timeout_s",
    "connection.insecure",
    "connection.proxy",
    "connection.source_ips",
    "connection.total_timeout_s",
    "report.detailed",
    "report.metadata",
];
/// Only which numbers are shown, not how they are computed.
const ONLY_SHOWN: [&str; 3] = [
    "report.metrics",
    "report.percentiles",
    "report.percentiles_named",
];

impl RunSpec {
    /// The recipe for a result: `settings`, their `hash`, and, where it is known, the digest of all bodies as
    /// `workload`. Seeds are not in it, so that repeats of a setting share it.
    pub(crate) fn recipe(&self, facts: &RunFacts) -> Value {
        let mut settings = serde_json::to_value(self).unwrap_or_default();
        redact_json(&mut settings);
        without_seeds(&mut settings);
        let mut settings: Map<String, Value> = flatten(&settings);
        let left_out = || NOT_MEASURED.iter().chain(&ONLY_SHOWN);
        settings.retain(|path, _| !left_out().any(|name| is_below(path, name)));
        let settings = Value::Object(settings);
        let hash = hex(&Sha256::digest(settings.to_string()));
        let mut recipe = json!({"hash": hash[..16], "settings": settings});
        if let Some(bodies) = &facts.bodies {
            recipe["workload"] = bodies.as_str().into();
        }
        recipe
    }
}

/// Removes every seed from settings, at any depth.
pub(crate) fn without_seeds(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| key != "seed" && key != "request_id_prefix");
            map.values_mut().for_each(without_seeds);
        }
        Value::Array(list) => list.iter_mut().for_each(without_seeds),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(seed: u64, url: &str) -> RunSpec {
        let mut spec = RunSpec::default();
        spec.workload.seed = seed;
        spec.target.base_urls = vec![url.to_owned()];
        spec.load.max_concurrency = Some(8);
        spec
    }

    #[test]
    fn seeds_and_addresses_do_not_change_a_recipe_and_the_load_does() {
        let facts = RunFacts::default();
        let one = spec(1, "http://a").recipe(&facts);
        assert_eq!(one, spec(2, "http://b").recipe(&facts));
        assert_eq!(one["settings"]["load.max_concurrency"], 8);
        let mut other = spec(1, "http://a");
        other.load.max_concurrency = Some(16);
        assert_ne!(one["hash"], other.recipe(&facts)["hash"]);
    }
}
