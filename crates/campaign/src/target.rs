//! Where a run sends.

use inferometer_core::Secret;

use crate::flags;

/// Where a run without an address sends: vLLM's default.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8000";

/// Where a run sends, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// URL without the endpoint.
    pub url: String,
    /// Do not verify certificates.
    pub insecure: bool,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
}

/// Headers out of `NAME=VALUE` pairs.
pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Vec<(String, Secret)> {
    pairs
        .into_iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim())))
        .collect()
}

/// The URL that a command line names by `--base-url`, or by `--host` and `--port`.
pub(crate) fn url_of(words: &[String]) -> Option<String> {
    match flags::value_of(words, "base-url") {
        Some(url) => Some(url.trim_end_matches('/').to_owned()),
        None => listening_url(words),
    }
}

/// The URL out of `--host` and `--port` of a command line, if either is there.
fn listening_url(words: &[String]) -> Option<String> {
    host_port_url(
        flags::value_of(words, "host"),
        flags::value_of(words, "port"),
    )
}

/// An address that means "all of this machine's" is reached by the loopback address.
pub(crate) fn host_port_url(host: Option<&str>, port: Option<&str>) -> Option<String> {
    if host.is_none() && port.is_none() {
        return None;
    }
    let host = match host {
        None | Some("0.0.0.0" | "::" | "[::]") => "127.0.0.1".to_owned(),
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    };
    Some(format!("http://{host}:{}", port.unwrap_or("8000")))
}

/// The URL of the server that `serve_cmd` starts: where it listens, else where the benchmark sends.
pub(crate) fn server_url(serve_cmd: &[String], bench_cmd: &[String]) -> String {
    listening_url(serve_cmd)
        .or_else(|| url_of(bench_cmd))
        .unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// True for a benchmark that takes `--base-url` and without an address sends to [`DEFAULT_URL`]:
/// vLLM's and ours, under any path.
pub(crate) fn has_default_url(bench_cmd: &[String]) -> bool {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let program = bench_cmd.first().map(name).unwrap_or_default();
    if ["vllm", inferometer_core::names::NAME].contains(&program.as_str()) {
        return true;
    }
    // `python3 benchmark_serving.py …` and `python3 -m vllm.entrypoints.cli.main bench serve …`.
    bench_cmd
        .iter()
        .take(3)
        .any(|word| name(word) == "benchmark_serving.py" || word == "vllm.entrypoints.cli.main")
}

/// True when two URLs name the same address; `localhost` is the loopback address.
pub(crate) fn same_address(one: &str, other: &str) -> bool {
    let plain = |url: &str| url.replacen("//localhost", "//127.0.0.1", 1);
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn programs_with_a_default_address_are_known() {
        for (line, expected) in [
            ("vllm bench serve", true),
            ("/opt/bin/vllm bench serve", true),
            ("inferometer run", true),
            ("python3 scripts/benchmark_serving.py --model m", true),
            ("python3 -m vllm.entrypoints.cli.main bench serve", true),
            ("python3 load.py", false),
            ("wrk -t2", false),
        ] {
            assert_eq!(has_default_url(&words(line)), expected, "{line}");
        }
    }
}
