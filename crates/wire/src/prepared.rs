//! A request that is ready to be sent.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use inferometer_core::{Nanos, Record};

/// A request as it will be sent. Built ahead of time, so that nothing is left to do when it is due.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) body: Stored,
    pub(crate) session: Option<usize>,
    /// Cancel this long after the request was fully sent.
    pub cancel_after: Option<Nanos>,
    pub(crate) content_type: HeaderValue,
    pub(crate) is_form: bool,
    pub(crate) id: Option<HeaderValue>,
    /// `x-session-id`, by which routers keep a conversation on one server.
    pub(crate) session_id: Option<HeaderValue>,
    pub(crate) known: Known,
}

/// What a record holds before its request is sent. A run may hold a million of these, and a whole
/// record is five times as large.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) index: usize,
    pub(crate) prompt_tokens: u32,
    pub(crate) asked_output_tokens: Option<u32>,
    pub(crate) ignore_eos: bool,
    pub(crate) results: Option<u32>,
    pub(crate) sequences: u32,
    pub(crate) audio_seconds: f64,
    pub(crate) turn: Option<usize>,
    pub(crate) category: Option<Box<str>>,
}

impl Prepared {
    /// A record for this request with everything that is known before it is sent.
    pub fn record(&self) -> Record {
        let Known {
            index,
            prompt_tokens,
            asked_output_tokens,
            ignore_eos: _,
            results: _,
            sequences,
            audio_seconds,
            turn,
            category,
        } = &self.known;
        Record {
            index: *index,
            // Ids are checked to be plain ASCII when the request is prepared.
            id: self
                .id
                .as_ref()
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned),
            prompt_tokens: *prompt_tokens,
            asked_output_tokens: *asked_output_tokens,
            sequences: *sequences,
            audio_seconds: *audio_seconds,
            session: self.session.zip(*turn),
            category: category.as_deref().map(str::to_owned),
            ..Record::default()
        }
    }

    /// True where the body asks the server to generate up to the limit.
    pub fn ignores_eos(&self) -> bool {
        self.known.ignore_eos
    }

    /// The body that will be sent, from its file if it is in one.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn body(&self) -> io::Result<Bytes> {
        self.body.bytes()
    }

    /// A hash of the body that will be sent, to find equal bodies.
    pub fn body_digest(&self) -> u64 {
        match &self.body {
            Stored::Memory(bytes) => digest(bytes),
            Stored::File { digest, .. } => *digest,
        }
    }
}

/// A hash by which bodies are compared.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// In memory.
    Memory(Bytes),
    /// In a file, with a hash of its content.
    File {
        file: Arc<File>,
        at: u64,
        len: usize,
        digest: u64,
    },
}

impl Stored {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File { file, at, len, .. } => {
                let mut bytes = vec![0; *len];
                file.read_exact_at(&mut bytes, *at)?;
                Ok(bytes.into())
            }
        }
    }
}
