//! What can go wrong outside a measured request.

use std::io;

/// The step of connecting that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStep {
    /// No server listens, or the network does not lead to it.
    Reach,
    /// A local address (`--source-ip`) that cannot be used.
    SourceAddress,
    /// The proxy refuses, or is not a proxy.
    Proxy,
    /// A server listens, but the TLS handshake fails: its certificate is not trusted, or it has no
    /// TLS.
    Tls,
    /// A server listens, but does not speak HTTP/2.
    Http2,
    /// A server listens, but speaks TLS where `http://` was given, or plain HTTP where `https://` was.
    Scheme,
}

/// A setting that cannot be used, or a side request that failed. Measured requests never return
/// this: their failures are outcomes in their records.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// `--backend` names an unknown backend.
    #[error("--backend {name}: unknown backend; choose one of {known}")]
    UnknownBackend {
        /// The name given.
        name: String,
        /// All names, joined by commas, and the one that was probably meant.
        known: String,
    },
    /// The endpoint does not belong to the backend.
    #[error(
        "invalid --endpoint {endpoint} for --backend {backend}: expected a path that ends in {wanted}; try --endpoint {default}"
    )]
    Endpoint {
        /// The endpoint given.
        endpoint: String,
        /// The backend's name.
        backend: &'static str,
        /// The endings that fit.
        wanted: String,
        /// The backend's own endpoint.
        default: &'static str,
    },
    /// An invalid base URL.
    #[error(
        "--base-url {url}: {reason}; expected http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH"
    )]
    BaseUrl {
        /// The URL given, without user name and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A host name that has no address.
    #[error("cannot resolve host {host} of --base-url: {source}")]
    Resolve {
        /// The host name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// A header that HTTP does not allow. The value is not shown, since it may be secret.
    #[error("--header {name}: {reason}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A request that the backend cannot express.
    #[error("--backend {backend} cannot send {what}: {remedy}")]
    Prompt {
        /// The backend's name.
        backend: &'static str,
        /// The kind of content.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A setting that does not fit the others.
    #[error("{flag}: {reason}")]
    Setting {
        /// The flag.
        flag: &'static str,
        /// Why it cannot be used, and the remedy.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("{flag}: {reason}")]
    Tls {
        /// The flag or variable concerned.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The server could not be reached.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        /// The target's address as given.
        target: String,
        /// The message of the operating system or the TLS library.
        reason: String,
        /// What failed, which decides the remedy.
        step: ConnectStep,
    },
    /// The server refuses the API key, or the lack of one.
    #[error(
        "{target} refuses access (HTTP {status}): set OPENAI_API_KEY, or give the header that the server requires with --header"
    )]
    AccessRefused {
        /// The target.
        target: String,
        /// The status, 401 or 403.
        status: u16,
    },
    /// A side request got no usable answer.
    #[error("{method} {target}{path}: {reason}")]
    Side {
        /// HTTP method.
        method: String,
        /// The target.
        target: String,
        /// Path asked for.
        path: String,
        /// What happened.
        reason: String,
    },
}
