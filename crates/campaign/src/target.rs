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
