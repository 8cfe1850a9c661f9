//! The flags of this program's runs, and the typed values that a sweep gives them.

use indexmap::IndexMap;
use serde_json::Value;

use inferometer_core::suggest::nearest;

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// None: it is there or not.
    Switch,
    /// One.
    One,
    /// One or more.
    Many,
}

/// A flag of `inferometer run` or `inferometer simulate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name with dashes inside and none before.
    pub name: String,
    /// How many values it takes.
    pub kind: FlagKind,
    /// True when only `simulate` has it.
    pub simulated: bool,
}

/// The flags of `inferometer run`, and those that only `inferometer simulate` has.
#[derive(Clone, Debug, Default)]
pub struct FlagTable(pub Vec<Flag>);

impl FlagTable {
    /// The flag that `key` names, in dashes or underscores.
    pub fn find(&self, key: &str) -> Option<&Flag> {
        let name = dashed(key);
        self.0.iter().find(|flag| flag.name == name)
    }

    /// The flag that was probably meant by `key`, with underscores.
    pub(crate) fn suggest(&self, key: &str) -> Option<String> {
        nearest(key, self.0.iter().map(|flag| flag.name.as_str()))
            .map(|name| name.replace('-', "_"))
    }
}

/// Values of flags by their names (with dashes inside and none before), in the order in which they
/// become arguments.
pub type Settings = IndexMap<String, FlagValue>;

/// The value of a flag, as a file or a command gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum FlagValue {
    /// A switch, on or off.
    Switch(bool),
    /// A number, a text, a truth value or a JSON object.
    One(Value),
    /// A list of values.
    Many(Vec<Value>),
}

impl FlagValue {
    /// `value` as a value of `flag`; an error names what was expected.
    pub(crate) fn read(flag: &Flag, value: &Value) -> Result<Self, String> {
        let key = flag.name.replace('-', "_");
        match (flag.kind, value) {
            (_, Value::Null) => Err(format!(
                "{key} has no value; leave it out, or write inf as \"inf\""
            )),
            (FlagKind::Switch, Value::Bool(on)) => Ok(Self::Switch(*on)),
            (FlagKind::Switch, _) => Err(format!("{key} is a switch: expected true or false")),
            (FlagKind::One, Value::Array(_)) => Err(format!("{key} takes one value, not a list")),
            (FlagKind::Many, Value::Array(items)) => Ok(Self::Many(items.clone())),
            (FlagKind::One | FlagKind::Many, value) => Ok(Self::One(value.clone())),
        }
    }

    /// The number that it is. Text counts where it holds a number: YAML has `inf` as text.
    pub fn number(&self) -> Option<f64> {
        match self.first()? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The value as text, of several the first one; `None` for switches and empty lists.
    pub fn text(&self) -> Option<String> {
        self.first().map(text)
    }

    /// The values as texts; none for a switch.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::Switch(_) => Vec::new(),
            Self::One(value) => vec![text(value)],
            Self::Many(items) => items.iter().map(text).collect(),
        }
    }

    fn first(&self) -> Option<&Value> {
        match self {
            Self::Switch(_) => None,
            Self::One(value) => Some(value),
            Self::Many(items) => items.first(),
        }
    }

    /// The arguments that give the flag `name` this value.
    pub(crate) fn arguments(&self, name: &str) -> Vec<String> {
        let option = format!("--{name}");
        match self {
            Self::Switch(true) => vec![option],
            Self::Switch(false) => Vec::new(),
            Self::Many(items) if items.is_empty() => Vec::new(),
            Self::Many(items) => std::iter::once(option)
                .chain(items.iter().map(text))
                .collect(),
            Self::One(value) => {
                let value = text(value);
                // A value that looks like a flag would be taken for one.
                if value.starts_with('-') {
                    vec![format!("{option}={value}")]
                } else {
                    vec![option, value]
                }
            }
        }
    }
}

impl From<&str> for FlagValue {
    fn from(text: &str) -> Self {
        Self::One(text.into())
    }
}

impl From<u64> for FlagValue {
    fn from(number: u64) -> Self {
        Self::One(number.into())
    }
}

/// A scalar as it is typed; anything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `key` as a flag's name.
pub(crate) fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flag(kind: FlagKind) -> Flag {
        Flag {
            name: "a-b".to_owned(),
            kind,
            simulated: false,
        }
    }

    #[test]
    fn values_become_the_arguments_that_would_be_typed() {
        for (kind, value, arguments) in [
            (FlagKind::Switch, json!(true), "--a-b"),
            (FlagKind::Switch, json!(false), ""),
            (FlagKind::One, json!(8), "--a-b 8"),
            (FlagKind::One, json!(2.5), "--a-b 2.5"),
            (FlagKind::One, json!(-0.5), "--a-b=-0.5"),
            (FlagKind::One, json!("inf"), "--a-b inf"),
            (FlagKind::One, json!({"x": 1}), "--a-b {\"x\":1}"),
            (FlagKind::Many, json!(["x", 2]), "--a-b x 2"),
            (FlagKind::Many, json!([]), ""),
            (FlagKind::Many, json!("x"), "--a-b x"),
        ] {
            let read = FlagValue::read(&flag(kind), &value).unwrap();
            assert_eq!(read.arguments("a-b").join(" "), arguments, "{value}");
        }
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        for (kind, value) in [
            (FlagKind::Switch, json!(3)),
            (FlagKind::One, json!([1])),
            (FlagKind::One, json!(null)),
            (FlagKind::Many, json!(null)),
        ] {
            assert!(FlagValue::read(&flag(kind), &value).is_err(), "{value}");
        }
    }

    #[test]
    fn numbers_are_read_from_numbers_and_from_text() {
        for (value, number) in [
            (json!(8), Some(8.0)),
            (json!("inf"), Some(f64::INFINITY)),
            (json!("many"), None),
            (json!(true), None),
        ] {
            assert_eq!(FlagValue::One(value).number(), number);
        }
        assert_eq!(FlagValue::Switch(true).number(), None);
        assert_eq!(FlagValue::Many(vec![]).text(), None);
    }
}
