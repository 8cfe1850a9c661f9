//! The vocabulary inside the binary, so that a first try needs no download.
//!
//! It is ours: trained by `data/builtin/make.py` on public-domain text. 8,192 tokens: 256 bytes,
//! the merges, three special tokens.

use super::bpe::byte_char;

const MERGES: &str = include_str!("../../data/builtin/merges.txt");

/// The special tokens, at the end of the vocabulary.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The tokenizer in the form of a `tokenizer.json`.
pub(super) fn tokenizer_json() -> String {
    use std::fmt::Write as _;

    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut alphabet: Vec<char> = (0..=255).map(byte_char).collect();
    alphabet.sort_unstable();
    let mut vocab = String::with_capacity(160_000);
    let mut merges = String::with_capacity(120_000);
    let mut next = 0;
    let mut push = |token: &str| {
        let _ = write!(
            vocab,
            "{}{}:{next}",
            if next > 0 { "," } else { "" },
            quote(token)
        );
        next += 1;
    };
    for symbol in alphabet {
        push(symbol.encode_utf8(&mut [0; 4]));
    }
    for (rank, line) in MERGES.lines().enumerate() {
        push(&line.replace(' ', ""));
        let _ = write!(merges, "{}{}", if rank > 0 { "," } else { "" }, quote(line));
    }
    let mut added = String::new();
    for (at, token) in SPECIAL.into_iter().enumerate() {
        push(token);
        let _ = write!(
            added,
            r#"{}{{"id":{},"content":"{token}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#,
            if at > 0 { "," } else { "" },
            256 + MERGES.lines().count() + at,
        );
    }
    format!(
        concat!(
            r#"{{"version":"1.0","added_tokens":[{}],"normalizer":null,"#,
            r#""pre_tokenizer":{{"type":"Sequence","pretokenizers":[{{"type":"Digits","individual_digits":true}},"#,
            r#"{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}}]}},"#,
            r#""post_processor":null,"#,
            r#""decoder":{{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}},"#,
            r#""model":{{"type":"BPE","vocab":{{{}}},"merges":[{}]}}}}"#
        ),
        added, vocab, merges
    )
}
