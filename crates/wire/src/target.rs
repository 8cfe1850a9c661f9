//! Base URLs: their parts, and the addresses behind them.
//!
//! They are not parsed by the `url` crate, because a base URL must go out as it was given: that
//! crate makes `http://h` and `http://h/` the same, resolves `..` in the path, lower-cases the
//! `host` header and removes a default port from it. It would also add its tables of international
//! names to the build.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use base64::Engine as _;
use http::{HeaderValue, Uri};
use inferometer_core::redact::{self, redact_url};
use percent_encoding::percent_decode_str;

use crate::error::WireError;

/// How a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    Unix,
}

/// A parsed base URL.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    pub(crate) scheme: Scheme,
    /// Without brackets; empty for Unix sockets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As sent in the `host` header.
    pub(crate) authority: String,
    /// What follows the authority, to be put before every path.
    pub(crate) prefix: String,
    pub(crate) socket_path: PathBuf,
    /// `user:password` of the URL.
    pub(crate) credentials: Option<String>,
}

impl BaseUrl {
    /// Parses `url`.
    pub(crate) fn parse(url: &str) -> Result<Self, WireError> {
        let bad = |reason: &str| WireError::BaseUrl {
            url: redact_url(url),
            reason: reason.to_owned(),
        };
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path
                .strip_prefix("//")
                .filter(|rest| rest.starts_with('/'))
                .unwrap_or(path);
            if path.is_empty() {
                return Err(bad("missing path of the Unix socket"));
            }
            return Ok(Self {
                scheme: Scheme::Unix,
                host: String::new(),
                port: 0,
                authority: "localhost".into(),
                prefix: String::new(),
                socket_path: PathBuf::from(path),
                credentials: None,
            });
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) => return Err(bad("unknown scheme")),
            None => return Err(bad("missing scheme")),
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, prefix) = rest.split_at(split);
        if prefix.contains(['?', '#']) {
            return Err(bad("a query or fragment is not allowed"));
        }
        let (credentials, authority) = split_credentials(authority);
        let (host, port) = split_port(authority)
            .ok_or_else(|| bad("invalid port: expected a number from 1 to 65535"))?;
        if host.is_empty() {
            return Err(bad("missing host"));
        }
        let default = if scheme == Scheme::Https { 443 } else { 80 };
        if Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query("/")
            .build()
            .is_err()
        {
            return Err(bad("invalid characters in the host name"));
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.unwrap_or(default),
            authority: authority.to_owned(),
            prefix: prefix.to_owned(),
            socket_path: PathBuf::new(),
            credentials,
        })
    }

    /// `host:port`, whether or not the URL names a port.
    pub(crate) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The addresses of the host, in the resolver's order.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, WireError> {
        let fail = |source| WireError::Resolve {
            host: self.host.clone(),
            source,
        };
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(fail)?
            .collect();
        if found.is_empty() {
            let none =
                std::io::Error::new(std::io::ErrorKind::NotFound, "the host name has no address");
            return Err(fail(none));
        }
        Ok(found)
    }

    /// The value of an authorization header for the URL's user and password.
    pub(crate) fn basic_authorization(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        Some(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(credentials)
        ))
    }
}

/// `user:password` and what follows the `@`.
fn split_credentials(authority: &str) -> (Option<String>, &str) {
    let Some((user, authority)) = authority.rsplit_once('@') else {
        return (None, authority);
    };
    let credentials = percent_decode_str(user).decode_utf8_lossy().into_owned();
    // A server may repeat the password in its answer, or the header that it got.
    redact::register_credentials(&credentials);
    (Some(credentials), authority)
}

/// Host and port of `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<IpAddr>().ok()?;
        (
            host,
            if after.is_empty() {
                None
            } else {
                Some(after.strip_prefix(':')?)
            },
        )
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    match port {
        Some(port) => Some((host, Some(port.parse().ok().filter(|&port| port > 0)?))),
        None => Some((host, None)),
    }
}

/// One of the servers to send to, with everything that is fixed for the run.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: BaseUrl,
    /// For messages.
    pub(crate) display: String,
    /// The addresses to connect to: the host's, or the proxy's.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) proxy: Option<Proxy>,
    /// The `host` header.
    pub(crate) host: HeaderValue,
    /// Where measured requests go.
    pub(crate) uri: Uri,
}

/// A proxy on the way to a target.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// For messages.
    pub(crate) display: String,
    /// `proxy-authorization`, if the proxy's URL has a user.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Target {
    /// The address of `path` on this target, in the form in which it is sent.
    pub(crate) fn uri_of(url: &BaseUrl, path: &str, absolute: bool) -> Result<Uri, WireError> {
        let whole = format!("{}{path}", url.prefix);
        let bad = |reason: String| WireError::Setting {
            flag: "--endpoint",
            reason,
        };
        if !whole.starts_with('/') {
            return Err(bad(format!(
                "{path} must begin with a slash, for example /v1/completions"
            )));
        }
        let built = if absolute {
            let scheme = if url.scheme == Scheme::Https {
                "https"
            } else {
                "http"
            };
            Uri::builder()
                .scheme(scheme)
                .authority(url.authority.as_str())
                .path_and_query(whole.as_str())
                .build()
        } else {
            Uri::builder().path_and_query(whole.as_str()).build()
        };
        built.map_err(|error| bad(format!("invalid path {path} ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_parsed() {
        let url = BaseUrl::parse("http://127.0.0.1:8000").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.prefix.as_str()),
            ("127.0.0.1", 8000, "")
        );
        let url = BaseUrl::parse("https://u%40x:p@api.example.com/base/").unwrap();
        assert_eq!(
            (url.scheme, url.port, url.prefix.as_str()),
            (Scheme::Https, 443, "/base/")
        );
        assert_eq!(url.credentials.as_deref(), Some("u@x:p"));
        assert_eq!(url.authority, "api.example.com");
        let url = BaseUrl::parse("http://[::1]:9").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.host_and_port().as_str()),
            ("::1", 9, "[::1]:9")
        );
        let url = BaseUrl::parse("unix:/run/server.sock").unwrap();
        assert_eq!(
            (url.scheme, url.socket_path.to_str()),
            (Scheme::Unix, Some("/run/server.sock"))
        );
        assert_eq!(
            BaseUrl::parse("unix:///run/x")
                .unwrap()
                .socket_path
                .to_str(),
            Some("/run/x")
        );
    }

    #[test]
    fn bad_base_urls_are_explained_without_their_password() {
        for (url, word) in [
            ("127.0.0.1:8000", "missing scheme"),
            ("ftp://x", "unknown scheme"),
            ("http://", "missing host"),
            ("http://x:0", "port"),
            ("http://x:99999", "port"),
            ("http://[::1", "port"),
            ("http://a b", "characters"),
            ("http://x/?q", "query"),
            ("unix:", "missing"),
            ("ftp://me:secret@x", "ftp://***@x"),
        ] {
            let message = BaseUrl::parse(url).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn paths_are_appended_as_they_are() {
        let url = BaseUrl::parse("http://h:1/api").unwrap();
        let uri = |path, absolute| Target::uri_of(&url, path, absolute).map(|uri| uri.to_string());
        assert_eq!(
            uri("/v1/completions", false).unwrap(),
            "/api/v1/completions"
        );
        assert_eq!(
            uri("/v1/completions?x=1", true).unwrap(),
            "http://h:1/api/v1/completions?x=1"
        );
        assert_eq!(uri("v1", false).unwrap(), "/apiv1");
        let bare = BaseUrl::parse("http://h:1").unwrap();
        assert!(
            Target::uri_of(&bare, "v1/completions", false)
                .unwrap_err()
                .to_string()
                .contains("slash")
        );
    }
}
