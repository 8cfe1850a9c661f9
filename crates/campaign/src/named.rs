//! The settings of an experiment's runs, and what they are called.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::flag_table::text;
use crate::hidden_values::{plain_value, register_value};

/// One combination of flags, by their names with underscores, as the file gives them.
pub(crate) type Combination = IndexMap<String, Value>;

/// What varies, with what may be shown of it.
pub(crate) struct Named {
    pub(crate) values: Combination,
    /// The values without secrets.
    plain: Combination,
    /// Which one it is of those that differ in their secrets alone; 1 for the first one.
    number: usize,
}

impl Named {
    /// `key=value` for each value that `is_named`, joined by `separator`; with the number, so that no two
    /// have the same name.
    pub(crate) fn name(&self, separator: &str, is_named: impl Fn(&str) -> bool) -> Option<String> {
        let named = self.plain.iter().filter(|(key, _)| is_named(key));
        let parts: Vec<String> = named
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect();
        let name = parts.join(separator);
        (!parts.is_empty()).then(|| match self.number {
            1 => name,
            number => format!("{name}-{number}"),
        })
    }
}

/// The settings of a round with their names. Those that differ in their secrets alone are numbered.
pub(crate) fn named(settings: Vec<Combination>) -> Vec<Named> {
    for (key, value) in settings.iter().flatten() {
        register_value(key, value);
    }
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    let named = settings.into_iter().map(|values| {
        let plain: Combination = values
            .iter()
            .map(|(key, value)| (key.clone(), plain_value(key, value)))
            .collect();
        let mut number = 1;
        if plain != values {
            let count = counts.entry(json!(plain).to_string()).or_default();
            *count += 1;
            number = *count;
        }
        Named {
            values,
            plain,
            number,
        }
    });
    named.collect()
}
