//! Flags for connections, which vLLM's benchmark does not have.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How connections are opened.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// Do not verify TLS certificates.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Certificates to trust in addition to the system's (PEM): authorities, or the server's own.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Use HTTP/2: by prior knowledge on http://, by ALPN on https://.
    #[arg(long)]
    pub(crate) http2: bool,
    /// HTTP proxy; `none` uses no proxy [default: from http_proxy, https_proxy, all_proxy and
    /// no_proxy].
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// When connections are opened.
    #[arg(long, value_enum, default_value_t = Connect::Ahead)]
    pub(crate) connect: Connect,
    /// How requests are distributed over several --base-url.
    #[arg(long, value_enum, default_value_t = Balance::RoundRobin)]
    pub(crate) balance: Balance,
    /// Local address to connect from; several are used in turn. May be repeated.
    #[arg(long, num_args = 1.., value_name = "IP")]
    pub(crate) source_ip: Vec<IpAddr>,
    /// Timeout for opening a connection.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub(crate) connect_timeout: f64,
    /// Timeout from the end of the request to the first byte of the response.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    pub(crate) first_byte_timeout: f64,
    /// Timeout between two reads of a response.
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS")]
    pub(crate) idle_timeout: f64,
    /// Timeout from the request to the end of its response [default: none].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) total_timeout: Option<f64>,
}

/// When connections are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Connect {
    /// Before the first request that needs them is due; then reused.
    Ahead,
    /// When first needed; then reused.
    Lazy,
    /// A new connection for every request.
    PerRequest,
}

/// How requests are distributed over several servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Balance {
    /// In turn.
    RoundRobin,
    /// To the server with the fewest requests in flight, as each worker counts its own.
    LeastInFlight,
    /// All turns of a conversation to one server.
    SessionSticky,
}
