//! Entries as an object by metric, so that scripts and tables find them by name.

use serde::de::{MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::MetricInterval;

pub(super) fn serialize<S: Serializer>(
    metrics: &[MetricInterval],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|entry| (&entry.metric, entry)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<MetricInterval>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<MetricInterval>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of intervals by metric")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut metrics = Vec::new();
            while let Some((metric, entry)) = map.next_entry::<String, MetricInterval>()? {
                metrics.push(MetricInterval { metric, ..entry });
            }
            Ok(metrics)
        }
    }

    deserializer.deserialize_map(Entries)
}
