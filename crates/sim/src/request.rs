//! A request as the endpoints see it.

use inferometer_core::Nanos;

/// A complete request.
#[derive(Default)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Value of `x-request-id`.
    pub(crate) id: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Value of `x-api-key`, where Anthropic's clients put the key.
    pub(crate) api_key: Option<String>,
    pub(crate) content_type: Option<String>,
    /// Value of `x-sim-fault`: a fault for this request only.
    pub(crate) fault: Option<String>,
    /// Value of `x-session-id` or `x-correlation-id`, for sticky routing.
    pub(crate) conversation: Option<String>,
    pub(crate) keep_alive: bool,
    /// True for HTTP/1.1, which has chunked answers.
    pub(crate) chunked_ok: bool,
    pub(crate) body: Vec<u8>,
    /// When the first bytes of the request had been read.
    pub(crate) first_byte: Nanos,
    /// When its last byte had been read.
    pub(crate) complete: Nanos,
    /// The kernel's wall-clock stamp of the last segment in the read that completed the request.
    pub(crate) arrived_wall: Option<Nanos>,
}
