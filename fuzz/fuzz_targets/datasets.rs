//! Any bytes as a dataset file are either sampled or rejected; nothing panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use inferometer_workload::{
    Compat, CustomSettings, DatasetSettings, ShareGptSettings, Tokenizer, WorkloadSettings, build,
};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::builtin().unwrap());

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (chat, vllm, bytes) = input;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for dataset in [
        DatasetSettings::ShareGpt(ShareGptSettings { path: file("s.json"), output_len: Some(4) }),
        DatasetSettings::Custom(CustomSettings { path: file("c.jsonl"), output_len: 4 }),
    ] {
        let settings = WorkloadSettings {
            num_prompts: 3,
            is_chat: chat,
            compat: if vllm { Compat::Vllm } else { Compat::Native },
            skip_chat_template: true,
            ..WorkloadSettings::new(dataset)
        };
        if let Ok(workload) = build(&settings, Some(&TOKENIZER), &|_, _| {}) {
            assert!(workload.requests.len() <= 3);
        }
    }
});
