//! Counts the tokens of texts, to compare a tokenizer with another implementation:
//! `cargo run --release -p inferometer-workload --example count_tokens -- TOKENIZER TEXTS.jsonl`.
//! The file has a JSON string per line. Each output line is the list of token ids without special
//! tokens, and the number of special tokens comes first.

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;

use inferometer_workload::{HubSettings, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let spec = arguments.next().ok_or("the tokenizer is missing")?;
    let texts = arguments.next().ok_or("the file of texts is missing")?;
    let tokenizer = Tokenizer::load(&spec, &HubSettings::from_env())?;
    println!("{}", tokenizer.num_special_tokens_to_add());
    for line in std::fs::read_to_string(texts)?.lines() {
        let text: String = serde_json::from_str(line)?;
        println!("{:?}", tokenizer.encode(&text));
    }
    Ok(())
}
