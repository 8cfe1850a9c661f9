//! Requests to the hub.

use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::cache::{StoreError, store};
use super::error::TokenUse;
use super::facts::{Facts, header};
use super::{HubError, HubSettings, REVISION, RepoKind};

/// Redirects that are followed. A download takes one to the storage, and one more where the
/// repository was renamed; more than ten are a loop.
const MAX_REDIRECTS: usize = 10;
/// A mirror that does not exist must not delay the start of a run for long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the headers of an answer. The body has no limit: datasets are large and networks slow.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

impl HubSettings {
    pub(super) fn download(
        &self,
        kind: RepoKind,
        repo: &str,
        file: &str,
    ) -> Result<PathBuf, HubError> {
        let prefix = if kind == RepoKind::Dataset {
            "datasets/"
        } else {
            ""
        };
        let url = format!("{}/{prefix}{repo}/resolve/{REVISION}/{file}", self.endpoint);
        let mut facts = Facts::default();
        let answer = match self.follow(&url, repo, file, &mut facts) {
            Err(error @ HubError::NoSuchFile { .. }) => {
                self.mark_absent(kind, repo, facts.commit.as_deref(), file);
                return Err(error);
            }
            other => other?,
        };
        let dir = self.repo_dir(kind, repo);
        store(answer, &dir, &facts, file).map_err(|failed| match failed {
            StoreError::Write(path, source) => HubError::Cache { path, source },
            StoreError::Read(message) => HubError::Unreachable { url, message },
        })
    }

    /// Asks for `url`, of the repository as a whole, and follows redirects.
    pub(super) fn get(&self, url: &str, repo: &str) -> Result<Response<Body>, HubError> {
        self.follow(url, repo, "", &mut Facts::default())
    }

    /// Asks for `url` and follows redirects.
    fn follow(
        &self,
        url: &str,
        repo: &str,
        file: &str,
        facts: &mut Facts,
    ) -> Result<Response<Body>, HubError> {
        let agent: Agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .build()
            .into();
        let mut target = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = agent
                .get(&target)
                .header(
                    "user-agent",
                    concat!("inferometer/", env!("CARGO_PKG_VERSION")),
                )
                .header("accept-encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| self.sends_token_to(&target)) {
                request = request.header("authorization", format!("Bearer {}", token.expose()));
            }
            let answer = request.call().map_err(|error| HubError::Unreachable {
                url: target.clone(),
                message: error.to_string(),
            })?;
            facts.learn(answer.headers());
            let status = answer.status();
            if status.is_redirection() {
                let location =
                    header(answer.headers(), "location").ok_or_else(|| HubError::Status {
                        url: target.clone(),
                        status: status.as_u16(),
                    })?;
                target = join(&target, &location);
                continue;
            }
            if status.is_success() {
                return Ok(answer);
            }
            return Err(self.refusal(&answer, &target, repo, file));
        }
        Err(HubError::Unreachable {
            url: url.to_owned(),
            message: "too many redirects".into(),
        })
    }

    /// True when the token may go to `url`: to the hub's own host, and not where others can read it.
    fn sends_token_to(&self, url: &str) -> bool {
        let is_private = url
            .get(..8)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
            || is_this_machine(url);
        origin(url) == origin(&self.endpoint) && (is_private || self.token_over_http)
    }

    fn refusal(&self, answer: &Response<Body>, url: &str, repo: &str, file: &str) -> HubError {
        let status = answer.status();
        let endpoint = self.endpoint.clone();
        let repo = repo.to_owned();
        let code = header(answer.headers(), "x-error-code").unwrap_or_default();
        match status {
            StatusCode::NOT_FOUND if code == "RepoNotFound" || file.is_empty() => {
                HubError::NoSuchRepo {
                    repo,
                    endpoint,
                    status: status.as_u16(),
                }
            }
            StatusCode::NOT_FOUND => HubError::NoSuchFile {
                repo,
                file: file.to_owned(),
                endpoint,
            },
            // The hub answers 401 for a repository that does not exist when no token is sent.
            StatusCode::UNAUTHORIZED if code == "RepoNotFound" => HubError::NoSuchRepo {
                repo,
                endpoint,
                status: status.as_u16(),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HubError::Refused {
                repo,
                endpoint,
                status: status.as_u16(),
                token: match &self.token {
                    None => TokenUse::Missing,
                    Some(_) if self.sends_token_to(&self.endpoint) => TokenUse::Sent,
                    Some(_) => TokenUse::Withheld,
                },
            },
            _ => HubError::Status {
                url: url.to_owned(),
                status: status.as_u16(),
            },
        }
    }
}

/// True for a URL whose host is this machine, so that nothing leaves it.
fn is_this_machine(url: &str) -> bool {
    let authority = origin(url).split_once("://").map_or("", |(_, rest)| rest);
    let host_and_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = match host_and_port.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#', '\\'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Where a `Location` leads from `base`.
fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with('/') {
        format!("{}{location}", origin(base))
    } else {
        format!(
            "{}/{location}",
            base.rsplit_once('/').map_or(base, |(folder, _)| folder)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_from_where_they_were_given() {
        let base = "https://hub:1/a/resolve/main/x";
        assert_eq!(join(base, "/b/c"), "https://hub:1/b/c");
        assert_eq!(join(base, "https://cdn/x"), "https://cdn/x");
        assert_eq!(join(base, "y"), "https://hub:1/a/resolve/main/y");
        assert_eq!(origin(base), "https://hub:1");
    }

    #[test]
    fn the_token_goes_to_the_hub_alone_and_not_over_plain_http() {
        let sent = |endpoint: &str, url: &str, over_http: bool| {
            let settings = HubSettings {
                endpoint: endpoint.to_owned(),
                token_over_http: over_http,
                ..HubSettings::offline()
            };
            settings.sends_token_to(url)
        };
        for (endpoint, url, expected) in [
            ("https://hub", "https://hub/a", true),
            ("HTTPS://hub", "HTTPS://hub/a", true),
            ("https://hub", "https://cdn/a", false),
            ("https://hub", "http://hub/a", false),
            ("https://hub", "https://hub@cdn/a", false),
            ("https://hub", "https://hub:8443/a", false),
            ("http://hub", "http://hub/a", false),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080/a", false),
            ("http://localhost:1", "http://localhost:1/a", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:1/a", true),
            ("http://[::1]:1", "http://[::1]:1/a", true),
            ("http://localhost.evil", "http://localhost.evil/a", false),
            ("http://127.0.0.1@evil", "http://127.0.0.1@evil/a", false),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/a", false),
        ] {
            assert_eq!(sent(endpoint, url, false), expected, "{endpoint} {url}");
        }
        assert!(sent("http://hub", "http://hub/a", true));
        assert!(!sent("http://hub", "http://cdn/a", true));
    }
}
