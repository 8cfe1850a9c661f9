//! Flags about connections, which vLLM's benchmark does not have.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How connections are made.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// Do not verify TLS certificates.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Certificate authorities to trust beside the system's (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Speak HTTP/2: by prior knowledge on http://, by ALPN on https://.
    #[arg(long)]
    pub(crate) http2: bool,
    /// HTTP proxy to go through; `none` uses no proxy [default: as http_proxy and the like say].
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    pub(crate) proxy: Option<String>,
    /// When connections are opened.
    #[arg(long, value_enum, default_value_t = Connect::Ahead)]
    pub(crate) connect: Connect,
    /// How requests are spread over several --base-url.
    #[arg(long, value_enum, default_value_t = Balance::RoundRobin)]
    pub(crate) balance: Balance,
    /// Local address to connect from; several are used in turn. May be repeated.
    #[arg(long, num_args = 1.., value_name = "IP")]
    pub(crate) source_ip: Vec<IpAddr>,
    /// Longest time for a connection to be made.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub(crate) connect_timeout: f64,
    /// Longest time from the end of the request to the first byte of the answer.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    pub(crate) first_byte_timeout: f64,
    /// Longest silence within an answer.
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS")]
    pub(crate) idle_timeout: f64,
    /// Longest time from the request to the end of its answer [default: no limit].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) total_timeout: Option<f64>,
}

/// When connections are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connect {
    /// Before the clock starts; then kept.
    Ahead,
    /// When first needed; then kept.
    Lazy,
    /// Anew for every request.
    PerRequest,
}

/// How requests are spread over several servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    /// By turns.
    RoundRobin,
    /// To the server with the fewest requests in flight.
    LeastInFlight,
    /// All turns of a conversation to one server.
    SessionSticky,
}
