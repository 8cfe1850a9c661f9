//! Answers that are sent at once.

use serde_json::Value;

/// An answer that is sent at once.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Further header lines.
    pub(crate) extra: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A JSON body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            extra: "",
            body: body.to_string().into_bytes(),
        }
    }

    /// A body with status 200.
    pub(super) fn text(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            content_type,
            extra: "",
            body: body.into(),
        }
    }
}
