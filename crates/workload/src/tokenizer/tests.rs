use serde_json::json;

use super::*;

#[test]
fn the_builtin_tokenizer_decodes_what_it_encodes() {
    let tokenizer = Tokenizer::builtin().unwrap();
    assert_eq!(tokenizer.vocab_size(), 8192);
    assert_eq!(tokenizer.special_ids(), [8189, 8190, 8191]);
    for text in [
        "Shall I compare thee to a summer's day?",
        " a\n\n b ",
        "naïve 中文 🎉 12345",
        "",
    ] {
        let ids = tokenizer.encode(text);
        assert_eq!(tokenizer.decode(&ids), text);
    }
    assert_eq!(tokenizer.encode("a<|im_end|>b").len(), 3);
}

#[test]
fn the_builtin_tokenizer_has_the_fast_encoder_and_equals_the_crate() {
    let json = builtin::tokenizer_json();
    let fast = Encoder::parse(json.as_bytes(), &Overlay::default()).unwrap();
    let reference = Encoder::parse_with_library(json.as_bytes(), &Overlay::default()).unwrap();
    assert!(matches!(fast, Encoder::Fast(_)) && matches!(reference, Encoder::Library(_)));
    let text = include_str!("../../data/builtin/make.py");
    for text in text.lines().chain([
        text,
        "Où l'été\u{301}…  <|im_end|> 中文\0",
        "x".repeat(100).as_str(),
    ]) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        fast.encode(text, &mut ours);
        reference.encode(text, &mut theirs);
        assert_eq!(ours, theirs, "{text:?}");
        assert_eq!(fast.decode(&ours), reference.decode(&theirs));
    }
}

#[test]
fn the_builtin_template_makes_a_chat() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let text = tokenizer
        .apply_chat_template(&[json!({"role": "user", "content": "Hi"})], &Map::new())
        .unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn spaces_are_cleaned_up_in_pythons_order() {
    assert_eq!(clean_up("do n't , you ' re it 's ."), "don't, you're it's.");
}

#[test]
fn broken_files_say_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokenizer.json");
    for (content, part) in [
        ("{", "EOF"),
        ("{}", "Model missing"),
        (
            r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}"#,
            "usable tokenizer file",
        ),
        (
            r#"{"model": {"type": "Nonsense"}}"#,
            "usable tokenizer file",
        ),
    ] {
        std::fs::write(&file, content).unwrap();
        let error =
            Tokenizer::load(dir.path().to_str().unwrap(), &HubSettings::offline()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("tokenizer.json") && message.contains(part),
            "{content}: {message}"
        );
    }
}
