//! Tokenizers in the Hugging Face format, with the meaning that Python's `AutoTokenizer` gives them.

mod bpe;
mod builtin;
mod config;

mod locate;
mod model;
mod pipeline;
mod split;
mod tables;
mod template;

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokenizers::{
    AddedToken, DecoderWrapper, Model, NormalizerWrapper, PostProcessor, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerBuilder, TokenizerImpl,
};

use self::config::Config;
use self::model::QuickModel;
use self::pipeline::Pipeline;
use self::template::ChatTemplate;
use crate::hub::{HubError, HubSettings};

type Inner =
    TokenizerImpl<QuickModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The name of the vocabulary inside the binary.
pub const BUILTIN: &str = "builtin";

/// A loaded tokenizer. Cheap to share between threads by reference.
pub struct Tokenizer {
    name: String,
    inner: Inner,
    pipeline: Option<Pipeline>,
    config: Config,
    special_ids: Vec<u32>,
    added: usize,
    byte_decoder: bool,
    token_bytes: OnceLock<TokenBytes>,
    template: OnceLock<Result<ChatTemplate, String>>,
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
        /// What was asked for.
        spec: String,
        /// What was looked for, and where.
        reason: String,
    },
    /// A folder without a `tokenizer.json`.
    #[error(
        "the folder {} has no tokenizer.json; it holds {holds}. A tokenizer of another format can be converted \
         with Python: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)", dir.display()
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
    /// A file that is not what it should be.
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
        /// What it said.
        message: String,
    },
}

/// The members of a `tokenizer.json`. Truncation and padding are left out on purpose: `AutoTokenizer` drops
/// them too, so that counts are those of the whole text.
#[derive(Deserialize)]
struct TokenizerFile<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedTokenWithId>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct AddedTokenWithId {
    #[serde(flatten)]
    token: AddedToken,
}

impl Tokenizer {
    /// Loads a tokenizer: `builtin`, a folder with `tokenizer.json`, such a file, or a Hugging Face id.
    ///
    /// An id is looked for in the cache of the Python library first, then downloaded into it.
    pub fn load(spec: &str, hub: &HubSettings) -> Result<Self, TokenizerError> {
        if spec == BUILTIN {
            return Self::builtin();
        }
        let files = locate::locate(spec, hub)?;
        Self::from_parts(spec, &files.tokenizer_name, &files.tokenizer, files.config)
    }

    /// The vocabulary inside the binary: nothing need be downloaded.
    pub fn builtin() -> Result<Self, TokenizerError> {
        Self::from_parts(BUILTIN, "the built-in tokenizer", &builtin::tokenizer_json(), Config::builtin())
    }

    fn from_parts(name: &str, file: &str, json: &str, config: Config) -> Result<Self, TokenizerError> {
        let broken = |message: String| TokenizerError::Parse { file: file.to_owned(), message };
        let parts: TokenizerFile<'_> =
            serde_json::from_str(json).map_err(|error| broken(error.to_string()))?;
        let model = QuickModel::parse(parts.model.get()).map_err(|error| broken(error.to_string()))?;
        let (normalizer, pre_tokenizer) = (parts.normalizer.clone(), parts.pre_tokenizer.clone());
        let byte_decoder = parts.decoder["type"] == "ByteLevel";
        let mut inner: Inner = TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(part("normalizer", parts.normalizer).map_err(broken)?)
            .with_pre_tokenizer(part("pre_tokenizer", parts.pre_tokenizer).map_err(broken)?)
            .with_post_processor(part("post_processor", parts.post_processor).map_err(broken)?)
            .with_decoder(part("decoder", parts.decoder).map_err(broken)?)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        inner
            .add_tokens(parts.added_tokens.into_iter().map(|added| added.token))
            .map_err(|error| broken(error.to_string()))?;
        let pipeline = inner.get_model().bpe().and_then(|_| {
            let mut added: Vec<(u32, AddedToken)> = inner
                .get_added_vocabulary()
                .get_added_tokens_decoder()
                .iter()
                .map(|(id, token)| (*id, token.clone()))
                .collect();
            added.sort_unstable_by_key(|(id, _)| *id);
            Pipeline::recognise(&normalizer, &pre_tokenizer, &added)
        });
        let mut special_ids: Vec<u32> =
            config.special.iter().filter_map(|(_, token)| inner.token_to_id(token)).collect();
        special_ids.sort_unstable();
        special_ids.dedup();
        let added = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        Ok(Self {
            name: name.to_owned(),
            inner,
            pipeline,
            config,
            special_ids,
            added,
            byte_decoder,
            token_bytes: OnceLock::new(),
            template: OnceLock::new(),
        })
    }

    /// What was asked for: a path, a Hugging Face id or `builtin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size of the model's own vocabulary, without added tokens.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(false)
    }

    /// Ids of the tokens that the configuration names special (`all_special_ids` in Python), ascending.
    pub fn special_ids(&self) -> &[u32] {
        &self.special_ids
    }

    /// Tokens that are put around a text when special tokens are asked for.
    pub fn num_special_tokens_to_add(&self) -> usize {
        self.added
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
        match (&self.pipeline, self.inner.get_model().bpe()) {
            (Some(pipeline), Some(bpe)) => pipeline.encode(bpe, text, ids),
            _ => ids.extend(self.encode_by_crate(text)),
        }
    }

    /// Number of tokens of a text; `special` counts those that are put around it too.
    pub fn count(&self, text: &str, special: bool) -> usize {
        thread_local! {
            static IDS: std::cell::RefCell<Vec<u32>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        let plain = IDS.with_borrow_mut(|ids| {
            self.encode_into(text, ids);
            ids.len()
        });
        plain + if special { self.added } else { 0 }
    }

    /// The text of tokens, special tokens included. Ids that the tokenizer does not know are skipped.
    pub fn decode(&self, ids: &[u32]) -> String {
        let text = if self.byte_decoder {
            let table = self.token_bytes.get_or_init(|| TokenBytes::new(&self.inner));
            let mut bytes = Vec::with_capacity(ids.len() * 5);
            for id in ids {
                bytes.extend_from_slice(table.get(*id));
            }
            match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }
        } else {
            // The crate's decoders fail for none of the texts that a vocabulary can hold.
            self.inner.decode(ids, false).unwrap_or_default()
        };
        if self.config.clean_up_spaces { clean_up(&text) } else { text }
    }

    /// True when the tokenizer has a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.config.chat_template.is_some()
    }

    /// The text that the chat template makes of messages, ready for the answer to begin.
    pub fn apply_chat_template(
        &self,
        messages: &[Value],
        kwargs: &Map<String, Value>,
    ) -> Result<String, TokenizerError> {
        let Some(source) = &self.config.chat_template else {
            return Err(TokenizerError::NoChatTemplate { name: self.name.clone() });
        };
        let template = self.template.get_or_init(|| {
            ChatTemplate::compile(source.clone(), self.config.named_special.clone())
                .map_err(|error| error.to_string())
        });
        match template {
            Ok(template) => template.render(messages, true, kwargs),
            Err(message) => Err(TokenizerError::Template { message: message.clone() }),
        }
    }

    /// The beginning-of-sequence token, if there is one.
    pub fn bos_token(&self) -> Option<&str> {
        self.config.named("bos_token")
    }

    /// The text of one token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Ids of all tokens that were added to the model's vocabulary and are marked special, ascending.
    pub fn special_added_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let mut ids: Vec<u32> = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// One more than the highest id of the model's own vocabulary.
    pub(crate) fn id_bound(&self) -> u32 {
        self.inner.get_model().id_bound()
    }

    /// The same tokens by the crate's own pipeline, for tokenizers that are not recognised and for tests.
    fn encode_by_crate(&self, text: &str) -> Vec<u32> {
        // Encoding fails only where a model has no token for unknown text; such text has no tokens.
        self.inner.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tokens of a text without special tokens, for counting an answer after a run.
pub fn count_output_tokens(tokenizer: &Tokenizer, text: &str) -> usize {
    tokenizer.count(text, false)
}

fn part<T: serde::de::DeserializeOwned>(name: &str, value: Value) -> Result<Option<T>, String> {
    serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
}

/// The bytes of every token of a byte-level vocabulary.
struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl TokenBytes {
    fn new(inner: &Inner) -> Self {
        let added = inner.get_added_vocabulary();
        let bound = added.get_added_tokens_decoder().keys().map(|id| id + 1).max().unwrap_or(0);
        let bound = bound.max(inner.get_model().id_bound());
        let mut table = Self { bytes: Vec::with_capacity(1 << 20), ends: Vec::with_capacity(bound as usize) };
        for id in 0..bound {
            let start = table.bytes.len();
            let added_text = added.simple_id_to_token(id);
            let text = match (&added_text, inner.get_model().bpe()) {
                (Some(text), _) => Some(text.as_str()),
                (None, Some(bpe)) => bpe.tokens.text(id),
                (None, None) => None,
            };
            let other = if text.is_none() { inner.get_model().id_to_token(id) } else { None };
            if let Some(text) = text.or(other.as_deref()) {
                for symbol in text.chars() {
                    if let Some(byte) = bpe::char_byte(symbol) {
                        table.bytes.push(byte);
                    } else {
                        // One strange character makes the whole token stand for itself.
                        table.bytes.truncate(start);
                        table.bytes.extend_from_slice(text.as_bytes());
                        break;
                    }
                }
            }
            table.ends.push(table.bytes.len() as u32);
        }
        table
    }

    fn get(&self, id: u32) -> &[u8] {
        let Some(&end) = self.ends.get(id as usize) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.bytes[start as usize..end as usize]
    }
}

/// The spaces that `clean_up_tokenization_spaces` takes out, in the order in which Python replaces them.
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
