//! The languages of our own reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The language of a report. vLLM's result table stays as it is in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

/// A language that is neither `en` nor `zh`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown language {given:?}: expected en or zh")]
pub struct UnknownLang {
    given: String,
}

impl Lang {
    /// Both languages.
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// The code used in flags and in the `lang` attribute of HTML.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The text in this language.
    pub const fn pick<T: Copy>(self, en: T, zh: T) -> T {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl FromStr for Lang {
    type Err = UnknownLang;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let primary = lower.split(['-', '_', '.']).next().unwrap_or_default();
        match primary {
            "en" => Ok(Self::En),
            "zh" => Ok(Self::Zh),
            _ => Err(UnknownLang {
                given: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locale_spellings_are_accepted() {
        assert_eq!("zh-CN".parse(), Ok(Lang::Zh));
        assert_eq!("en_US.UTF-8".parse(), Ok(Lang::En));
        assert!("fr".parse::<Lang>().is_err());
    }
}
