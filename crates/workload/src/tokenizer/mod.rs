//! Tokenizers: `tokenizer.json`, and the other files that models ship with ([`formats`]), with the
//! meaning that Python's `AutoTokenizer` gives them.
//!
//! The crate `tokenizers` is the reference: it reads every tokenizer with a step that our own code
//! does not know, and tests compare the two token for token (`tests.rs` here, and
//! `tests/local_data.rs` for the tokenizers of large models). For all other tokenizers, nearly
//! all of them byte-pair ones, our own code loads the tokenizer and encodes texts ([`file`], [`bpe`],
//! [`pipeline`], [`split`]), because loading and encoding both delay the first request. When loading, the crate fills
//! hash maps of owned strings and compiles regular expressions; when encoding, it keeps the origin
//! of every byte, which counting does not need. `benches/startup.sh TOKENIZER` measures what a
//! start takes (the README has the number for the built-in tokenizer); `examples/speed.rs` measures loading and counting
//! alone.

mod bpe;
mod builtin;
mod classes;
mod config;
mod encoder;
mod file;
mod formats;
mod locate;
mod overlay;
mod pipeline;
mod scan;
mod split;
mod tables;
mod tags;
mod template;

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::config::Config;
use self::encoder::Encoder;
use self::overlay::Overlay;
use self::template::ChatTemplate;
use crate::hub::{HubError, HubSettings};

/// The name of the vocabulary inside the binary.
pub const BUILTIN: &str = "builtin";

/// A loaded tokenizer. Cheap to share between threads by reference.
pub struct Tokenizer {
    name: String,
    encoder: Encoder,
    config: Config,
    special_ids: Vec<u32>,
    template: OnceLock<Result<ChatTemplate, String>>,
    template_time: i64,
    sha256: String,
}

/// Why a tokenizer cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Neither a path nor a name of the hub.
    #[error(
        "tokenizer {spec:?} not found: {reason}. Give --tokenizer a folder that holds tokenizer.json, the file \
         itself, the name of a Hugging Face model, or `builtin`"
    )]
    NotFound {
        /// The path, id or name that was given.
        spec: String,
        /// Where it was searched.
        reason: String,
    },
    /// A folder without a tokenizer.
    #[error(
        "the folder {} has no tokenizer.json or other tokenizer; it holds {holds}. Expected {}. A tokenizer of \
         another format can be converted with Python: \
         AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)", dir.display(), formats::NAMES
    )]
    NoTokenizerFile {
        /// The folder.
        dir: PathBuf,
        /// Names of the files in it.
        holds: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not a tokenizer.
    #[error("{file} is not a usable tokenizer file: {message}")]
    Parse {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The hub cannot give it.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The tokenizer has no chat template.
    #[error(
        "the tokenizer {name:?} has no chat template; give --skip-chat-template to send the prompts as they are"
    )]
    NoChatTemplate {
        /// Name of the tokenizer.
        name: String,
    },
    /// The chat template does not compile or refuses the messages.
    #[error("the chat template of the tokenizer failed: {message}")]
    Template {
        /// The message of the template engine.
        message: String,
    },
}

impl TokenizerError {
    /// True where there is no tokenizer, as opposed to one that is broken.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::NoTokenizerFile { .. } | Self::Hub(_)
        )
    }
}

impl Tokenizer {
    /// Loads a tokenizer: `builtin`, a folder with `tokenizer.json`, such a file, or a Hugging Face
    /// id.
    ///
    /// An id is first searched in the cache of the Python library, then downloaded into it.
    ///
    /// # Errors
    ///
    /// Files that cannot be found, downloaded or understood.
    pub fn load(spec: &str, hub: &HubSettings) -> Result<Self, TokenizerError> {
        if spec == BUILTIN {
            return Self::builtin();
        }
        let files = locate::locate(spec, hub)?;
        Self::from_parts(
            spec,
            &files.tokenizer_name,
            &files.tokenizer,
            files.config,
            &files.overlay,
            files.sha256,
        )
    }

    /// The vocabulary inside the binary, which needs no download.
    ///
    /// # Errors
    ///
    /// Never in a build that passes its tests.
    pub fn builtin() -> Result<Self, TokenizerError> {
        Self::from_parts(
            BUILTIN,
            "the built-in tokenizer",
            builtin::tokenizer_json().as_bytes(),
            Config::builtin(),
            &Overlay::default(),
            None,
        )
    }

    /// The vocabulary inside the binary in place of a model's own, which has another chat template or
    /// none: this one has none.
    ///
    /// # Errors
    ///
    /// As [`Self::builtin`].
    pub fn substitute() -> Result<Self, TokenizerError> {
        let mut tokenizer = Self::builtin()?;
        tokenizer.config.chat_template = None;
        Ok(tokenizer)
    }

    fn from_parts(
        name: &str,
        file: &str,
        json: &[u8],
        config: Config,
        overlay: &Overlay,
        sha256: Option<String>,
    ) -> Result<Self, TokenizerError> {
        // The hash takes some time for a file of 10 MB; loading takes more.
        let (encoder, sha256) = rayon::join(
            || Encoder::parse(json, overlay),
            || sha256.unwrap_or_else(|| hex_sha256(&[json])),
        );
        let encoder = encoder.map_err(|message| TokenizerError::Parse {
            file: file.to_owned(),
            message,
        })?;
        let mut special_ids: Vec<u32> = config
            .special
            .iter()
            .filter_map(|(_, token)| encoder.token_to_id(token))
            .collect();
        special_ids.sort_unstable();
        special_ids.dedup();
        Ok(Self {
            name: name.to_owned(),
            encoder,
            config,
            special_ids,
            template: OnceLock::new(),
            template_time: template::FIXED_TIME,
            sha256,
        })
    }

    /// Sets the local time, in seconds since 1970, that chat templates see in place of a fixed one.
    #[must_use]
    pub fn at_local_time(mut self, seconds: i64) -> Self {
        self.template_time = seconds;
        self.template = OnceLock::new();
        self
    }

    /// SHA-256 of the vocabulary's file, in hexadecimal digits: of `tokenizer.json`, or of the file
    /// in whose place it is read. Of several files, that of their contents one after another.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The name it was loaded by: a path, a Hugging Face id or `builtin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size of the model's own vocabulary, without added tokens.
    pub fn vocab_size(&self) -> usize {
        self.encoder.vocab_size()
    }

    /// Ids of the tokens that the configuration names special (`all_special_ids` in Python),
    /// ascending.
    pub fn special_ids(&self) -> &[u32] {
        &self.special_ids
    }

    /// Number of special tokens that the tokenizer adds around a text.
    pub fn num_special_tokens_to_add(&self) -> usize {
        self.encoder.special_around()
    }

    /// The tokens of a text, with nothing put around it. Added tokens in the text are recognised.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut ids);
        ids
    }

    /// Like [`Self::encode`], into a vector that is cleared first.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) {
        ids.clear();
        self.encoder.encode(text, ids);
    }

    /// Number of tokens of a text; with `special`, including the special tokens around it.
    pub fn count(&self, text: &str, special: bool) -> usize {
        thread_local! {
            static IDS: std::cell::RefCell<Vec<u32>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        let plain = IDS.with_borrow_mut(|ids| {
            self.encode_into(text, ids);
            ids.len()
        });
        plain
            + if special {
                self.encoder.special_around()
            } else {
                0
            }
    }

    /// The text of tokens, special tokens included. Ids that the tokenizer does not know are
    /// skipped.
    pub fn decode(&self, ids: &[u32]) -> String {
        let text = self.encoder.decode(ids);
        if self.config.clean_up_spaces {
            clean_up(&text)
        } else {
            text
        }
    }

    /// True when the tokenizer has a chat template, also one that cannot be used.
    pub fn has_chat_template(&self) -> bool {
        self.config.chat_template.is_some() || self.config.template_problem.is_some()
    }

    /// The text that the chat template makes of messages, up to where the answer begins.
    ///
    /// # Errors
    ///
    /// No template, and a template that fails.
    pub fn apply_chat_template(
        &self,
        messages: &[Value],
        kwargs: &Map<String, Value>,
    ) -> Result<String, TokenizerError> {
        let Some(source) = &self.config.chat_template else {
            let name = self.name.clone();
            return Err(match self.config.template_problem.clone() {
                Some(message) => TokenizerError::Template { message },
                None => TokenizerError::NoChatTemplate { name },
            });
        };
        let template = self.template.get_or_init(|| {
            ChatTemplate::compile(
                source,
                self.config.named_special.clone(),
                self.template_time,
            )
            .map_err(|error| error.to_string())
        });
        match template {
            Ok(template) => template.render(messages, true, kwargs),
            Err(message) => Err(TokenizerError::Template {
                message: message.clone(),
            }),
        }
    }

    /// The beginning-of-sequence token, if there is one.
    pub fn bos_token(&self) -> Option<&str> {
        self.config.named("bos_token")
    }

    /// Ids of all tokens, added ones included, ascending.
    pub(crate) fn all_ids(&self) -> Vec<u32> {
        self.encoder.all_ids()
    }

    /// Ids of all tokens that were added to the model's vocabulary and are marked special,
    /// ascending.
    pub fn special_added_ids(&self) -> Vec<u32> {
        self.encoder.special_added_ids()
    }

    /// True when the fast encoder of this crate is used instead of the `tokenizers` crate's.
    pub(crate) fn is_fast(&self) -> bool {
        matches!(self.encoder, Encoder::Fast(_))
    }

    /// Visits the tokens of the model's own vocabulary in order of id, until `visit` breaks.
    pub(crate) fn for_each_token(&self, visit: &mut dyn FnMut(&str) -> std::ops::ControlFlow<()>) {
        self.encoder.for_each_token(visit);
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of contents one after another, in hexadecimal digits.
fn hex_sha256(contents: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(content);
    }
    format!("{:x}", hash.finalize())
}

/// Tokens of a text without special tokens, for counting an answer after a run.
pub fn count_output_tokens(tokenizer: &Tokenizer, text: &str) -> usize {
    tokenizer.count(text, false)
}

/// The spaces that `clean_up_tokenization_spaces` takes out, in the order in which Python replaces
/// them.
fn clean_up(text: &str) -> String {
    const PAIRS: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    let mut text = text.to_owned();
    for (from, to) in PAIRS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text
}

#[cfg(test)]
mod tests;
