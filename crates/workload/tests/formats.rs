//! Tokenizers without a `tokenizer.json`: the same tokens as the formats' own libraries make
//! (`data/formats/make.py`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use inferometer_workload::{HubSettings, Tokenizer};
use serde_json::{Value, json};

fn folder(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    data.join(name).display().to_string()
}

fn load(spec: &str) -> Tokenizer {
    Tokenizer::load(spec, &HubSettings::offline()).unwrap()
}

#[test]
fn every_format_gives_the_tokens_of_its_library() {
    let file = std::fs::read(folder("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&file).unwrap();
    for (name, library) in expected["tokenizers"].as_object().unwrap() {
        let tokenizer = load(&folder(name));
        assert_eq!(
            json!(tokenizer.num_special_tokens_to_add()),
            library["special"],
            "{name}"
        );
        let texts = expected["texts"].as_array().unwrap();
        for (text, ids) in texts.iter().zip(library["ids"].as_array().unwrap()) {
            let ours = tokenizer.encode(text.as_str().unwrap());
            assert_eq!(json!(ours), *ids, "{name}: {text}");
        }
    }
}

/// `data/beside/make.py` wrote the tokens that transformers makes of these files.
#[test]
fn the_files_beside_a_tokenizer_change_it_as_in_transformers() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/beside");
    let file = std::fs::read(data.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&file).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let name = case["tokenizer"].as_str().unwrap();
        let files = case["files"].as_object().unwrap();
        std::fs::copy(
            data.join(format!("{name}.json")),
            folder.path().join("tokenizer.json"),
        )
        .unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
        let tokenizer = load(folder.path().to_str().unwrap());
        assert_eq!(
            json!(tokenizer.num_special_tokens_to_add()),
            case["special"],
            "{name} with {files:?}"
        );
        let texts = expected["texts"].as_array().unwrap();
        for (text, ids) in texts.iter().zip(case["ids"].as_array().unwrap()) {
            let ours = tokenizer.encode(text.as_str().unwrap());
            assert_eq!(json!(ours), *ids, "{name} with {files:?}: {text}");
        }
    }
}

#[test]
fn the_vocabulary_may_be_named_itself() {
    for (name, file) in [
        ("gpt2", "vocab.json"),
        ("gpt2", "merges.txt"),
        ("llama", "tokenizer.model"),
        ("t5", "spiece.model"),
        ("qwen", "qwen.tiktoken"),
        ("tekken", "tekken.json"),
    ] {
        let (by_folder, by_file) = (
            load(&folder(name)),
            load(&folder(&format!("{name}/{file}"))),
        );
        let text = "The verdict says when.";
        assert_eq!(by_folder.encode(text), by_file.encode(text), "{file}");
        assert_eq!(by_folder.sha256(), by_file.sha256());
        assert_eq!(by_folder.sha256().len(), 64);
        assert_eq!(by_folder.decode(&by_folder.encode(text)), text, "{file}");
    }
}

#[test]
fn broken_vocabularies_say_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let spec = dir.path().to_str().unwrap();
    for (files, part) in [
        (
            &[("tokenizer.model", &b"no model"[..])][..],
            "expected a SentencePiece model",
        ),
        (
            &[("x.tiktoken", b"IQ== 0\nno\n")],
            "line 2: expected a token in base64",
        ),
        (&[("x.tiktoken", b"IQ== 0\n")], "no token for the byte 0"),
        (&[("tekken.json", b"{}")], "`config.pattern` must be a text"),
        (
            &[("vocab.json", b"[]"), ("merges.txt", b"")],
            "expected an object of tokens and ids",
        ),
        (
            &[("vocab.json", b"{\"a</w>\": 0}"), ("merges.txt", b"")],
            "expected a byte-level vocabulary",
        ),
        (&[("vocab.txt", b"a\nb\n")], "expected BERT's vocabulary"),
        (
            &[("vocab.json", b"{}")],
            "Expected tokenizer.json, tekken.json",
        ),
    ] {
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let error = Tokenizer::load(spec, &HubSettings::offline()).unwrap_err();
        assert!(error.to_string().contains(part), "{files:?}: {error}");
        for (name, _) in files {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
