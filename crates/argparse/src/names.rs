//! vLLM's names for our commands.

use inferometer_benchmark::Error;

/// Replaces `vllm bench serve …`, `bench serve …`, `vllm bench sweep …` by our commands; the
/// arguments include the program's name. `bench serve` implies vLLM's rules, which a later
/// `--compat` overrides.
pub(crate) fn resolve(arguments: Vec<String>) -> Result<Vec<String>, Error> {
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let (skip, ours): (usize, &[&str]) = match words.as_slice() {
        ["vllm", "bench", "serve", ..] => (3, &["run", "--compat=vllm"]),
        ["bench", "serve", ..] => (2, &["run", "--compat=vllm"]),
        ["vllm", "bench", "sweep", "plot" | "plot_pareto", ..]
        | ["bench", "sweep", "plot" | "plot_pareto", ..] => {
            return Err(Error::usage(
                "bench sweep plot: unsupported command of vLLM: draw the figures of a sweep with \
                 inferometer visualize FOLDER",
            ));
        }
        ["vllm", "bench", "sweep", ..] => (3, &["sweep"]),
        ["bench", "sweep", ..] => (2, &["sweep"]),
        ["vllm" | "bench", ..] => {
            return Err(Error::usage(format!(
                "{}: unsupported command of vLLM: only `vllm bench serve` and `vllm bench sweep serve` are available; \
                 the others measure or run vLLM itself",
                words.iter().take(3).copied().collect::<Vec<_>>().join(" ")
            )));
        }
        _ => return Ok(arguments),
    };
    let mut arguments = arguments.into_iter();
    let mut resolved: Vec<String> = arguments.by_ref().take(1).collect();
    resolved.extend(ours.iter().map(|&word| word.to_owned()));
    resolved.extend(arguments.skip(skip));
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_vllm_become_ours() {
        for (typed, expected) in [
            (
                "sb vllm bench serve --model m",
                "sb run --compat=vllm --model m",
            ),
            ("sb bench serve", "sb run --compat=vllm"),
            ("sb vllm bench sweep serve -o x", "sb sweep serve -o x"),
            ("sb run --model bench", "sb run --model bench"),
            ("sb", "sb"),
        ] {
            let typed = typed.split(' ').map(str::to_owned).collect();
            assert_eq!(resolve(typed).unwrap().join(" "), expected);
        }
    }

    #[test]
    fn other_commands_of_vllm_are_refused_by_name() {
        let typed = ["sb", "vllm", "bench", "latency"]
            .map(str::to_owned)
            .to_vec();
        let message = resolve(typed).unwrap_err().to_string();
        assert!(message.starts_with("vllm bench latency: "), "{message}");
    }
}
