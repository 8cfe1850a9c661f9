//! `--metadata` keys that the result has too.

use super::{Details, VllmBody, VllmGeneration, VllmPooling, VllmResult};

/// Keys that are written before the metadata, which replace them.
const BEFORE: [&str; 7] = [
    "date",
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "num_prompts",
];
/// Starts of keys that results have or lack by what was measured.
const OPTIONAL: [&str; 6] = [
    "ramp_up_",
    "server_",
    "probe_",
    "rps_change_events",
    "spec_decode_",
    "diffusion_",
];

/// What becomes of a `--metadata` entry whose key the result has too: vLLM's rule, a later key
/// replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataClash {
    /// It replaces the result's own value.
    Replaces,
    /// The result's own value replaces it.
    Lost,
}

/// Whether the result of a run has the key `key` of a `--metadata` entry too.
pub fn metadata_clash(key: &str, is_pooling: bool) -> Option<MetadataClash> {
    if BEFORE.contains(&key) {
        return Some(MetadataClash::Replaces);
    }
    let body = if is_pooling {
        VllmBody::Pooling(VllmPooling::default())
    } else {
        VllmBody::Generation(VllmGeneration::default())
    };
    let empty = VllmResult {
        body,
        ..VllmResult::default()
    };
    let lost = key == "inferometer"
        || empty.to_map(Details::Held).contains_key(key)
        || is_statistic(key)
        || OPTIONAL.iter().any(|start| key.starts_with(start));
    lost.then_some(MetadataClash::Lost)
}

/// True for keys such as `mean_ttft_ms` and `p99.9_itl_ms`.
fn is_statistic(key: &str) -> bool {
    const METRICS: [&str; 6] = [
        "ttft",
        "tpot",
        "itl",
        "e2el",
        "client_queue_time",
        "e2el_including_client_queue",
    ];
    let Some((statistic, metric)) = key
        .strip_suffix("_ms")
        .and_then(|rest| rest.split_once('_'))
    else {
        return false;
    };
    let percentile = statistic
        .strip_prefix('p')
        .is_some_and(|number| number.parse::<f64>().is_ok());
    METRICS.contains(&metric) && (percentile || ["mean", "median", "std"].contains(&statistic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_result_are_known() {
        for (key, is_pooling, expected) in [
            ("date", false, Some(MetadataClash::Replaces)),
            ("num_prompts", true, Some(MetadataClash::Replaces)),
            ("duration", false, Some(MetadataClash::Lost)),
            ("request_rate", false, Some(MetadataClash::Lost)),
            ("ttfts", false, Some(MetadataClash::Lost)),
            ("ttfts", true, None),
            ("total_input_sequences", true, Some(MetadataClash::Lost)),
            ("p99.9_ttft_ms", false, Some(MetadataClash::Lost)),
            ("spec_decode_num_drafts", false, Some(MetadataClash::Lost)),
            ("inferometer", false, Some(MetadataClash::Lost)),
            ("tensor_parallel_size", false, None),
            ("px_ttft_ms", false, None),
        ] {
            assert_eq!(metadata_clash(key, is_pooling), expected, "{key}");
        }
    }
}
