//! What a backend is: the facts of one API, as data.

use http::HeaderMap;
use inferometer_core::Request;
use inferometer_core::python::json_bytes;
use serde_json::{Map, Value};

use super::body::{Asked, Body, BodySettings, LengthFields};
use crate::error::WireError;
use crate::reply::ReplyReader;

/// What a backend measures, which decides the metrics that make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Text generation: TTFT, TPOT, ITL.
    Generation,
    /// Embeddings, scores, classification: one answer, end-to-end latency.
    Pooling,
    /// Speech to text: generation plus the real-time factor.
    Audio,
}

/// Whether an API answers with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streaming {
    /// If it is asked to.
    OnRequest,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A path that ends like one of this API's but belongs to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foreign {
    /// The ending.
    pub(super) suffix: &'static str,
    /// What to use for it, in parentheses.
    pub(super) remedy: &'static str,
}

/// One API. All of them are in [`super::ALL`].
#[derive(Debug)]
pub struct Backend {
    pub(super) name: &'static str,
    pub(super) default_endpoint: &'static str,
    /// Endings of a path that this backend can use.
    pub(super) suffixes: &'static [&'static str],
    pub(super) foreign: Option<Foreign>,
    pub(super) kind: BackendKind,
    pub(super) applies_chat_template: bool,
    pub(super) streaming: Streaming,
    pub(super) length: LengthFields,
    /// The number of vectors or scores that a body asks for.
    pub(super) results: fn(&Map<String, Value>) -> Option<u32>,
    /// Makes the body; it gets the backend for its name.
    pub(super) body: fn(&Backend, &Request, &BodySettings) -> Result<Body, WireError>,
    pub(super) reader: fn() -> Box<dyn ReplyReader>,
    /// Input sequences in a request.
    pub(super) sequences: fn(&Request) -> usize,
    /// Adds headers that this API needs beside the usual ones; it gets the API key.
    pub(super) headers: fn(&mut HeaderMap, Option<&str>),
}

impl Backend {
    /// The name after `--backend`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The endpoint that fits, for the case that none is given.
    pub fn default_endpoint(&self) -> &'static str {
        self.default_endpoint
    }

    /// Endings of a path that this backend can use.
    pub fn endpoint_suffixes(&self) -> &'static [&'static str] {
        self.suffixes
    }

    /// The error for a request with content that this API cannot carry.
    pub(super) fn refuse(&self, what: &'static str, remedy: &'static str) -> WireError {
        WireError::Prompt {
            backend: self.name,
            what,
            remedy,
        }
    }

    /// Refuses a request with media, for an API of text only.
    pub(super) fn refuse_media(
        &self,
        request: &Request,
        remedy: &'static str,
    ) -> Result<(), WireError> {
        if request.media.is_empty() && request.audio.is_none() {
            return Ok(());
        }
        Err(self.refuse("images, video or audio", remedy))
    }

    /// What it measures.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// True when the server puts its chat template around a plain prompt that this API carries, so
    /// that the client must not do it as well.
    pub fn applies_chat_template(&self) -> bool {
        self.applies_chat_template
    }

    /// False for an API that never streams.
    pub fn can_stream(&self) -> bool {
        self.streaming != Streaming::Never
    }

    /// True when the answer is asked for as a stream under these settings.
    pub fn streams(&self, settings: &BodySettings) -> bool {
        match self.streaming {
            Streaming::OnRequest => settings.stream,
            Streaming::Always => true,
            Streaming::Never => false,
        }
    }

    /// The body for `request`.
    ///
    /// # Errors
    /// When the API cannot express the request.
    pub fn body(&self, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
        (self.body)(self, request, settings)
    }

    /// The finished body, without the fields to be omitted.
    pub(super) fn json_body(
        &self,
        request: &Request,
        mut body: Map<String, Value>,
        settings: &BodySettings,
    ) -> Body {
        for field in &settings.omit_fields {
            body.shift_remove(field);
        }
        Body {
            content_type: "application/json".into(),
            bytes: json_bytes(&body),
            asked: self.asked(&body, request, settings),
        }
    }

    /// What a finished body asks for.
    pub(super) fn asked(
        &self,
        body: &Map<String, Value>,
        request: &Request,
        settings: &BodySettings,
    ) -> Asked {
        Asked {
            results: (self.results)(body),
            ..self.length.asked(body, request, settings)
        }
    }

    /// A reader for one answer, streamed or not.
    pub fn reader(&self) -> Box<dyn ReplyReader> {
        (self.reader)()
    }

    /// Input sequences in `request`.
    pub fn sequences(&self, request: &Request) -> u32 {
        u32::try_from((self.sequences)(request)).unwrap_or(u32::MAX)
    }

    /// Adds headers that this API needs beside the usual ones.
    pub(crate) fn headers(&self, headers: &mut HeaderMap, api_key: Option<&str>) {
        (self.headers)(headers, api_key);
    }

    /// Refuses a path that belongs to another API.
    ///
    /// # Errors
    /// With the endings that fit, and the default endpoint.
    pub fn check_endpoint(&self, path: &str) -> Result<(), WireError> {
        let plain = path.split('?').next().unwrap_or(path);
        let fits = self.suffixes.iter().any(|suffix| plain.ends_with(suffix));
        let is_foreign = |foreign: Foreign| plain.ends_with(foreign.suffix);
        if fits && !self.foreign.is_some_and(is_foreign) {
            return Ok(());
        }
        let remedy = self.foreign.map_or("", |foreign| foreign.remedy);
        Err(WireError::Endpoint {
            endpoint: path.to_owned(),
            backend: self.name,
            wanted: format!("{}{remedy}", self.suffixes.join(" or ")),
            default: self.default_endpoint,
        })
    }
}

/// Every prompt of a request is a sequence.
pub(super) fn all_sequences(request: &Request) -> usize {
    request.prompt.sequences()
}

/// For an API that generates.
pub(super) fn no_results(_: &Map<String, Value>) -> Option<u32> {
    None
}

/// For an API without headers of its own.
pub(super) fn no_headers(_: &mut HeaderMap, _: Option<&str>) {}
