//! What all workers of a run share: checked settings, resolved names, and headers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request as HttpRequest, Version};
use http_body_util::Full;
use inferometer_core::{Request, redact_url};

use crate::budget::Budget;
use crate::error::WireError;
use crate::pages::Pages;
use crate::prepared::{Known, Prepared, Stored};
use crate::proxy;
use crate::settings::ClientSettings;
use crate::target::{BaseUrl, Proxy, Scheme, Target};
use crate::tls;

/// The `user-agent` header.
const AGENT: &str = concat!("inferometer/", env!("CARGO_PKG_VERSION"));

/// The settings of a run in the form in which they are used. Shared by all workers.
#[derive(Debug)]
pub struct Wire {
    pub(crate) settings: ClientSettings,
    pub(crate) targets: Vec<Target>,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// Headers of every request but `host` and what belongs to the single request.
    headers: HeaderMap,
    /// Headers of side requests.
    side_headers: HeaderMap,
    streams: bool,
    /// Memory that the answers of all workers share.
    pub(crate) budget: Arc<Budget>,
    /// What is known of the pages that a server need not have.
    pub(crate) pages: Pages,
}

impl Wire {
    /// Checks the settings and resolves the hosts' names, which blocks until the resolver has
    /// answered.
    ///
    /// # Errors
    ///
    /// URLs, headers or certificates that cannot be used, and hosts without an address.
    pub fn new(settings: ClientSettings) -> Result<Arc<Self>, WireError> {
        let endpoint = settings
            .endpoint
            .clone()
            .unwrap_or_else(|| settings.backend.default_endpoint().into());
        settings.backend.check_endpoint(&endpoint)?;
        if settings.base_urls.is_empty() {
            let reason = "at least one base URL is required".to_owned();
            return Err(WireError::Setting {
                flag: "--base-url",
                reason,
            });
        }
        let streams = settings.backend.streams(&settings.body);
        if streams && !settings.body.stream {
            let reason = format!(
                "the API of --backend {} always streams",
                settings.backend.name()
            );
            return Err(WireError::Setting {
                flag: "--no-streaming",
                reason,
            });
        }
        let targets = settings
            .base_urls
            .iter()
            .map(|url| target(url, &endpoint, &settings))
            .collect::<Result<Vec<_>, _>>()?;
        let needs_tls = targets
            .iter()
            .any(|target| target.url.scheme == Scheme::Https);
        let tls = if needs_tls {
            Some(tls::config(&settings.tls, settings.http2)?)
        } else {
            None
        };
        let side_headers = side_headers(&settings, &targets[0])?;
        let mut headers = side_headers.clone();
        settings.backend.headers(
            &mut headers,
            settings
                .api_key
                .as_ref()
                .map(inferometer_core::Secret::expose),
        );
        // Named headers win over everything, also over what a backend adds.
        add_named(&mut headers, &settings)?;
        Ok(Arc::new(Self {
            budget: Budget::new(settings.limits.memory),
            pages: Pages::default(),
            settings,
            targets,
            tls,
            headers,
            side_headers,
            streams,
        }))
    }

    /// The settings.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Each base URL without its secrets, and the addresses that connections go to.
    pub fn resolved(&self) -> Vec<(String, Vec<SocketAddr>)> {
        self.targets
            .iter()
            .map(|target| (target.display.clone(), target.addresses.clone()))
            .collect()
    }

    /// A sentence for each page that has not answered since the last call: see [`Client::page`].
    ///
    /// [`Client::page`]: crate::Client::page
    pub fn unanswered_pages(&self) -> Vec<String> {
        self.pages.unanswered()
    }

    /// True when answers are asked for as streams.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// Builds everything that `request` needs to be sent. Any thread may call this.
    ///
    /// # Errors
    ///
    /// Content that the backend cannot carry.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, WireError> {
        let body = self.settings.backend.body(request, &self.settings.body)?;
        let content_type =
            HeaderValue::try_from(body.content_type).map_err(|_| WireError::Header {
                name: CONTENT_TYPE.to_string(),
                reason: "the backend made an invalid content type",
            })?;
        let plain = request.id.as_deref().filter(|id| id.is_ascii());
        let id = plain.and_then(|id| HeaderValue::try_from(id).ok());
        if let (Some(id), None) = (&request.id, &id) {
            let reason = format!(
                "invalid request id {id:?}: expected printable ASCII, because it is sent as a header"
            );
            return Err(WireError::Setting {
                flag: "--request-id-prefix",
                reason,
            });
        }
        let session_id = session_id(request).and_then(|id| HeaderValue::try_from(id).ok());
        let known = Known {
            index: request.index,
            prompt_tokens: request.prompt_tokens,
            asked_output_tokens: body.asked.output_tokens,
            ignore_eos: body.asked.ignore_eos,
            results: body.asked.results,
            sequences: self.settings.backend.sequences(request),
            audio_seconds: request.audio.as_ref().map_or(0.0, |audio| audio.seconds),
            turn: request.session.as_ref().map(|turn| turn.turn),
            category: request.category.as_deref().map(Into::into),
        };
        Ok(Prepared {
            body: Stored::Memory(body.bytes.into()),
            session: request.session.as_ref().map(|turn| turn.session),
            cancel_after: None,
            is_form: content_type.as_bytes().starts_with(b"multipart/"),
            content_type,
            id,
            session_id,
            known,
        })
    }

    /// The HTTP request for `prepared` with its body, to `target`.
    pub(crate) fn request(
        &self,
        prepared: &Prepared,
        body: Bytes,
        target: &Target,
        close: bool,
    ) -> HttpRequest<Full<Bytes>> {
        let mut request = HttpRequest::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.uri.clone();
        let mut headers = self.headers.clone();
        if self.settings.http2 {
            *request.version_mut() = Version::HTTP_2;
        } else {
            headers
                .entry(http::header::HOST)
                .or_insert_with(|| target.host.clone());
            if close {
                headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            }
            add_proxy(&mut headers, target);
        }
        if prepared.is_form {
            // A form can only be read with the boundary that it was written with.
            headers.insert(CONTENT_TYPE, prepared.content_type.clone());
        } else {
            headers
                .entry(CONTENT_TYPE)
                .or_insert_with(|| prepared.content_type.clone());
        }
        if let Some(id) = &prepared.id {
            headers.insert(HeaderName::from_static("x-request-id"), id.clone());
        }
        if let Some(session) = &prepared.session_id {
            headers
                .entry("x-session-id")
                .or_insert_with(|| session.clone());
        }
        *request.headers_mut() = headers;
        request
    }

    /// The HTTP request for a side request to `target`: always HTTP/1.1, on a connection of its
    /// own.
    pub(crate) fn side_request(
        &self,
        target: &Target,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<HttpRequest<Full<Bytes>>, WireError> {
        let absolute = target.proxy.is_some() && target.url.scheme == Scheme::Http;
        let uri = Target::uri_of(&target.url, path, absolute)?;
        let has_body = body.is_some();
        let mut request = HttpRequest::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        let mut headers = self.side_headers.clone();
        headers
            .entry(http::header::HOST)
            .or_insert_with(|| target.host.clone());
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        add_proxy(&mut headers, target);
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The name of a request's conversation: that of its request id without the number, and the
/// conversation's number, so that two runs never share one.
fn session_id(request: &Request) -> Option<String> {
    let session = request.session.as_ref()?.session;
    let id = request.id.as_deref().unwrap_or("session-");
    Some(format!(
        "{}s{session}",
        id.trim_end_matches(|digit: char| digit.is_ascii_digit())
    ))
}

/// Plain requests through a proxy carry its credentials; a tunnel has sent them when it was opened.
fn add_proxy(headers: &mut HeaderMap, target: &Target) {
    let authorization = target
        .proxy
        .as_ref()
        .and_then(|proxy| proxy.authorization.as_ref());
    if let (Some(value), Scheme::Http) = (authorization, target.url.scheme) {
        headers.insert(http::header::PROXY_AUTHORIZATION, value.clone());
    }
}

fn target(url: &str, endpoint: &str, settings: &ClientSettings) -> Result<Target, WireError> {
    let display = redact_url(url);
    let url = BaseUrl::parse(url)?;
    let proxy = proxy::find(&settings.proxy, &url, |name| std::env::var(name).ok())?;
    let addresses = match (&proxy, url.scheme) {
        (_, Scheme::Unix) => Vec::new(),
        (Some(proxy), _) => proxy.addresses()?,
        (None, _) => url.addresses()?,
    };
    let through_proxy = proxy.is_some() && url.scheme == Scheme::Http;
    if settings.http2 && through_proxy {
        let reason =
            "not possible through an HTTP proxy to an http:// server; use https:// or no proxy"
                .to_owned();
        return Err(WireError::Setting {
            flag: "--http2",
            reason,
        });
    }
    let uri = Target::uri_of(&url, endpoint, through_proxy || settings.http2)?;
    let host = HeaderValue::try_from(url.authority.as_str()).map_err(|_| WireError::BaseUrl {
        url: display.clone(),
        reason: "invalid characters in the host name".into(),
    })?;
    let proxy = proxy.map(|proxy| Proxy {
        display: format!("http://{}", proxy.authority),
        authorization: proxy::authorization(&proxy),
    });
    Ok(Target {
        url,
        display,
        addresses,
        proxy,
        host,
        uri,
    })
}

fn side_headers(settings: &ClientSettings, first: &Target) -> Result<HeaderMap, WireError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let authorization = match &settings.api_key {
        Some(key) => Some(format!("Bearer {}", key.expose())),
        None => first.url.basic_authorization(),
    };
    if let Some(authorization) = authorization {
        let value = secret_value(&authorization).ok_or_else(|| WireError::Setting {
            flag: "OPENAI_API_KEY",
            reason: "invalid characters in the key (line breaks, control characters)".to_owned(),
        })?;
        headers.insert(AUTHORIZATION, value);
    }
    add_named(&mut headers, settings)?;
    Ok(headers)
}

fn add_named(headers: &mut HeaderMap, settings: &ClientSettings) -> Result<(), WireError> {
    for (name, value) in &settings.headers {
        let key = HeaderName::try_from(name.as_str()).map_err(|_| WireError::Header {
            name: name.clone(),
            reason: "invalid header name",
        })?;
        if matches!(
            key.as_str(),
            "content-length" | "transfer-encoding" | "connection" | "accept-encoding"
        ) {
            let reason = "the client sets this header itself";
            return Err(WireError::Header {
                name: name.clone(),
                reason,
            });
        }
        let value = secret_value(value.expose()).ok_or_else(|| WireError::Header {
            name: name.clone(),
            reason: "invalid characters in the value (line breaks, control characters)",
        })?;
        headers.insert(key, value);
    }
    Ok(())
}

/// A header's value that is not shown; `None` where it has characters that no header may have.
fn secret_value(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
