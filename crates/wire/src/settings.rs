//! Settings of connections, proxies, time limits and size limits.

use std::net::IpAddr;
use std::path::PathBuf;

use inferometer_core::{Nanos, Secret};

use crate::backend::{Backend, BodySettings};
use crate::progress::Counting;
use crate::reply::KeepText;

/// Settings of the client side of HTTP, as the command line gives them.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Which API to speak: see [`crate::backend::find`].
    pub backend: &'static Backend,
    /// Where to send, at least one: `http://…`, `https://…`, `unix:/path`.
    pub base_urls: Vec<String>,
    /// Path appended to the base URL; `None` takes the backend's own.
    pub endpoint: Option<String>,
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<Secret>,
    /// Further headers; they win over the API key and the backend's own.
    pub headers: Vec<(String, Secret)>,
    /// What goes into request bodies.
    pub body: BodySettings,
    /// When connections are opened and closed.
    pub connect: ConnectPolicy,
    /// How requests are spread over several base URLs.
    pub balance: Balance,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Size limits.
    pub limits: Limits,
    /// Whether the answer's text is kept.
    pub keep_text: KeepText,
    /// Which messages of an answer are token events.
    pub counting: Counting,
    /// Local addresses to connect from, used in turn.
    pub source_ips: Vec<IpAddr>,
    /// Speak HTTP/2 (by prior knowledge on `http://`, by ALPN on `https://`).
    ///
    /// The worker must then run inside a `tokio::task::LocalSet` (or local runtime).
    pub http2: bool,
    /// How server and client authenticate.
    pub tls: TlsSettings,
    /// Proxy to use for `http` and `https` targets.
    pub proxy: ProxySettings,
    /// Ask the kernel for receive stamps (on unless a test wants the fallback).
    pub kernel_stamps: bool,
}

impl ClientSettings {
    /// Settings for one server with everything else at its default.
    pub fn new(
        backend: &'static Backend,
        base_url: impl Into<String>,
        model: impl Into<String>,
    ) -> Self {
        Self {
            backend,
            base_urls: vec![base_url.into()],
            endpoint: None,
            api_key: None,
            headers: Vec::new(),
            body: BodySettings::new(model),
            connect: ConnectPolicy::default(),
            balance: Balance::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            keep_text: KeepText::default(),
            counting: Counting::default(),
            source_ips: Vec::new(),
            http2: false,
            tls: TlsSettings::default(),
            proxy: ProxySettings::default(),
            kernel_stamps: true,
        }
    }
}

/// When connections are opened and closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectPolicy {
    /// Opened before the clock starts (see `Client::open_ahead`) or a little before the request
    /// that needs it is due (`Client::open_missing`), then kept.
    #[default]
    Ahead,
    /// Opened when first needed, then kept.
    Lazy,
    /// A new connection for every request.
    PerRequest,
}

/// How requests are spread over several base URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// Where this worker has the fewest requests in flight.
    LeastInFlight,
    /// All turns of a conversation to one URL; requests without a conversation in turn.
    SessionSticky,
}

/// How long to wait for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect and TLS handshake together.
    pub connect: Nanos,
    /// From the end of the send to the first byte of the answer.
    pub first_byte: Nanos,
    /// Between two reads of one answer.
    pub idle: Nanos,
    /// From the send to the end of the answer; `None` sets no limit.
    pub total: Option<Nanos>,
    /// For a whole side request such as `/v1/models`.
    pub side: Nanos,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Nanos::from_millis(10_000),
            first_byte: Nanos::from_millis(600_000),
            idle: Nanos::from_millis(300_000),
            total: None,
            side: Nanos::from_millis(10_000),
        }
    }
}

/// How much of a server's answer is accepted, so that no server can fill the client's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Status line and headers together, in bytes.
    pub header: usize,
    /// Number of headers.
    pub headers: usize,
    /// One server-sent event, in bytes.
    pub event: usize,
    /// Bytes of one streamed answer.
    pub stream: u64,
    /// Bytes of one answer that is not a stream.
    pub body: usize,
    /// Bytes of text kept of one answer.
    pub text: usize,
    /// Server-sent events of one answer.
    pub events: u64,
    /// Bytes that all answers of a run hold together, beyond 1 MiB each: unfinished bodies and events
    /// while they arrive, and texts that are kept.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 64 << 10,
            headers: 200,
            event: 16 << 20,
            stream: 1 << 29,
            body: 256 << 20,
            text: 64 << 20,
            events: 1_000_000,
            memory: 512 << 20,
        }
    }
}

/// TLS settings.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Accept any certificate.
    pub insecure: bool,
    /// Further certificate authorities, as a PEM file, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain, as a PEM file.
    pub client_cert: Option<PathBuf>,
    /// Key of the client certificate, as a PEM file.
    pub client_key: Option<PathBuf>,
}

/// Which proxy to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxySettings {
    /// From the environment: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in either
    /// case.
    #[default]
    Environment,
    /// This one, for every target.
    Url(Secret),
    /// None.
    Off,
}
