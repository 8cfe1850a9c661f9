//! `-h` of commands with many flags: the common ones first, and examples. `--help` shows all.

use clap::{Command, CommandFactory};

use super::Cli;

/// What most runs set.
const COMMON: [&str; 10] = [
    "base-url",
    "model",
    "backend",
    "dataset-name",
    "dataset-path",
    "random-input-len",
    "random-output-len",
    "num-prompts",
    "request-rate",
    "max-concurrency",
];
/// Flags of `simulate` besides those of `run`.
const SIMULATED: [&str; 3] = ["preset", "replicas", "find-rate"];

const RUN_EXAMPLES: &str = "\
Examples:
  inferometer run --base-url http://HOST:8000 --num-prompts 500 --request-rate 10
      500 random prompts that arrive at 10 per second, however fast the answers come
  inferometer run --base-url http://HOST:8000 --max-concurrency 16 --random-input-len 512 \\
      --random-output-len 128
      16 requests in flight: each is followed by the next as soon as it is answered
  inferometer run --base-url http://HOST:8000 --backend openai-chat --dataset-name sharegpt \\
      --dataset-path sharegpt.json --save-result
      recorded conversations as prompts, and vLLM's result file

inferometer run --help shows all options, --help=WORD those with a word, inferometer help TOPIC the
documentation.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  inferometer simulate --preset llama-3.1-8b@h100 --request-rate 10
  inferometer simulate --replicas 2 --find-rate \"p99_ttft<500\"

inferometer simulate --help shows all options, inferometer help simulator the documentation.";

impl Cli {
    /// The parser, with a short help (`-h`) of the commands with many flags.
    pub(crate) fn parser() -> Command {
        Self::command()
            .mut_subcommand("run", |run| short(run, &COMMON).after_help(RUN_EXAMPLES))
            .mut_subcommand("simulate", |simulate| {
                let common = [&COMMON[1..], &SIMULATED].concat();
                short(simulate, &common).after_help(SIMULATE_EXAMPLES)
            })
    }
}

/// Only `common` flags in the short help.
fn short(command: Command, common: &[&str]) -> Command {
    command.mut_args(|argument| {
        let is_common = argument
            .get_long()
            .is_some_and(|long| common.contains(&long));
        argument.hide_short_help(!is_common)
    })
}
