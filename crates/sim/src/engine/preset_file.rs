//! An engine's settings as a file, such as `inferometer calibrate` writes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EngineConfig, ModelError};

/// Version of the file's layout.
pub const PRESET_FORMAT_VERSION: u32 = 1;

/// An engine's settings with their origin, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetFile {
    /// Version of this layout.
    pub format_version: u32,
    /// Name, for reports.
    pub name: String,
    /// The settings. Times are nanoseconds.
    pub engine: EngineConfig,
    /// Where the numbers come from, for reports.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub origin: Value,
}

/// Why a text is not a preset file.
#[derive(Debug, thiserror::Error)]
pub enum PresetFileError {
    /// Not this layout.
    #[error("invalid preset file: {0}")]
    Form(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error(
        "preset file of version {0}: this program reads up to {PRESET_FORMAT_VERSION}; update it"
    )]
    Version(u32),
    /// The settings are invalid.
    #[error(transparent)]
    Engine(#[from] ModelError),
}

impl PresetFile {
    /// A file with these settings.
    pub fn new(name: impl Into<String>, engine: EngineConfig) -> Self {
        Self {
            format_version: PRESET_FORMAT_VERSION,
            name: name.into(),
            engine,
            origin: Value::Null,
        }
    }

    /// Reads the text of a file and checks it.
    ///
    /// # Errors
    ///
    /// Text that is not such a file, of a newer version, or with settings that no engine can have.
    pub fn from_json(text: &str) -> Result<Self, PresetFileError> {
        let file: Self = serde_json::from_str(text)?;
        if file.format_version > PRESET_FORMAT_VERSION {
            return Err(PresetFileError::Version(file.format_version));
        }
        file.engine.check()?;
        Ok(file)
    }

    /// The text of the file.
    ///
    /// # Errors
    ///
    /// Numbers that JSON cannot hold.
    pub fn to_json(&self) -> Result<String, PresetFileError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_checked() {
        let mut file = PresetFile::new("mine", EngineConfig::default());
        let text = file.to_json().unwrap();
        assert_eq!(PresetFile::from_json(&text).unwrap(), file);

        file.engine.cost.base = -1.0;
        let negative = PresetFile::from_json(&file.to_json().unwrap()).unwrap_err();
        assert!(negative.to_string().contains("cost.base"), "{negative}");
        let newer = text.replace("\"format_version\": 1", "\"format_version\": 9");
        assert!(matches!(
            PresetFile::from_json(&newer),
            Err(PresetFileError::Version(9))
        ));
        let misspelt = text.replace("\"num_blocks\"", "\"num_blcks\"");
        assert!(
            PresetFile::from_json(&misspelt)
                .unwrap_err()
                .to_string()
                .contains("num_blcks")
        );
    }
}
