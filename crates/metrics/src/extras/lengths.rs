//! Shortest and longest prompt and answer.

use inferometer_core::Record;

use super::{LengthRange, TokenLengths};

/// Gathers [`TokenLengths`] of successful requests.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    ranges: Option<TokenLengths>,
}

impl Lengths {
    pub(super) fn add(&mut self, record: &Record) {
        let of = |tokens: u32| LengthRange {
            min: tokens,
            max: tokens,
        };
        let (input, output) = (record.input_tokens(), record.output_tokens);
        let ranges = self.ranges.get_or_insert(TokenLengths {
            input: of(input),
            output: of(output),
        });
        ranges.input.widen(input);
        ranges.output.widen(output);
    }

    pub(super) const fn finish(&self) -> Option<TokenLengths> {
        self.ranges
    }
}

impl LengthRange {
    fn widen(&mut self, tokens: u32) {
        self.min = self.min.min(tokens);
        self.max = self.max.max(tokens);
    }
}
