//! Which proxy, if any, is between the client and a target.
//!
//! `no_proxy` is not left to hyper-util's matcher, because entries with a port (`host:8000`) and
//! with a leading `*.`, which this crate supports, match nothing in it. It would also add a crate
//! (`ipnet`) to the build, for networks such as `10.0.0.0/8`, which this crate does not support.

use http::HeaderValue;

use crate::error::WireError;
use crate::settings::ProxySettings;
use inferometer_core::redact_url;

use crate::target::{BaseUrl, Scheme};

/// The proxy's URL for `target`, from the settings and the environment, which `variable` looks up.
pub(crate) fn find(
    settings: &ProxySettings,
    target: &BaseUrl,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<BaseUrl>, WireError> {
    // The lower-case spelling wins, as in curl.
    let lookup = |name: &str| {
        let value = variable(name).or_else(|| variable(&name.to_uppercase()))?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let (url, flag) = match (settings, target.scheme) {
        (ProxySettings::Off, _) | (_, Scheme::Unix) => return Ok(None),
        (ProxySettings::Url(url), _) => (url.expose().to_owned(), "--proxy"),
        (ProxySettings::Environment, scheme) => {
            let (name, flag) = match scheme {
                Scheme::Https => ("https_proxy", "environment variable https_proxy"),
                _ => ("http_proxy", "environment variable http_proxy"),
            };
            let of_all = || Some((lookup("all_proxy")?, "environment variable all_proxy"));
            let own = lookup(name).map(|url| (url, flag));
            let Some((url, flag)) = own.or_else(of_all) else {
                return Ok(None);
            };
            if lookup("no_proxy").is_some_and(|list| is_excepted(&list, target)) {
                return Ok(None);
            }
            (url, flag)
        }
    };
    let url = if url.contains("://") {
        url
    } else {
        format!("http://{url}")
    };
    let shown = redact_url(&url);
    let refuse = |reason: String| WireError::Setting { flag, reason };
    let proxy = BaseUrl::parse(&url).map_err(|_| {
        refuse(format!(
            "invalid proxy URL {shown}: expected http://HOST:PORT"
        ))
    })?;
    if proxy.scheme != Scheme::Http {
        return Err(refuse(format!(
            "unsupported proxy {shown}: expected an http:// URL"
        )));
    }
    Ok(Some(proxy))
}

/// True when the list of `no_proxy` names the target: `*`, a host, a domain (with or without a dot
/// before it), or either with a port.
fn is_excepted(list: &str, target: &BaseUrl) -> bool {
    list.split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            let host = target.host.to_ascii_lowercase();
            let matches = |name: &str| {
                let name = name
                    .trim_start_matches("*.")
                    .trim_start_matches('.')
                    .trim_matches(['[', ']']);
                host == name
                    || host
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.ends_with('.'))
            };
            matches(&entry)
                || entry
                    .rsplit_once(':')
                    .is_some_and(|(name, port)| port.parse() == Ok(target.port) && matches(name))
        })
}

/// `proxy-authorization` for a proxy URL with a user.
pub(crate) fn authorization(proxy: &BaseUrl) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&proxy.basic_authorization()?).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use inferometer_core::Secret;

    use super::*;

    fn chosen(settings: &ProxySettings, url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let target = BaseUrl::parse(url).unwrap();
        find(settings, &target, variable)
            .unwrap()
            .map(|proxy| proxy.host_and_port())
    }

    #[test]
    fn the_environment_decides_unless_the_settings_do() {
        let environment = ProxySettings::Environment;
        let variables = [
            ("http_proxy", "http://p:1"),
            ("HTTPS_PROXY", "q:2"),
            ("no_proxy", ".local,10.0.0.1, x:8000"),
        ];
        let choose = |url| chosen(&environment, url, &variables);
        assert_eq!(choose("http://a").as_deref(), Some("p:1"));
        assert_eq!(choose("https://a").as_deref(), Some("q:2"));
        assert_eq!(choose("http://node.local:9"), None);
        assert_eq!(choose("http://10.0.0.1:9"), None);
        assert_eq!(choose("http://x:8000"), None);
        assert_eq!(choose("http://x:8001").as_deref(), Some("p:1"));
        assert_eq!(choose("http://notlocal").as_deref(), Some("p:1"));
        assert_eq!(choose("unix:/x"), None);
        assert_eq!(chosen(&ProxySettings::Off, "http://a", &variables), None);
        let own = ProxySettings::Url(Secret::url("http://u:pw@r:3"));
        assert_eq!(
            chosen(&own, "http://node.local", &variables).as_deref(),
            Some("r:3")
        );
    }

    #[test]
    fn an_unsupported_proxy_is_refused_without_showing_its_password() {
        let own = ProxySettings::Url(Secret::url("socks5://u:hunter2@r:3"));
        let target = BaseUrl::parse("http://a").unwrap();
        let message = find(&own, &target, |_| None).unwrap_err().to_string();
        assert!(
            message.contains("--proxy") && !message.contains("hunter2"),
            "{message}"
        );
        for (name, shown) in [("http_proxy", "http_proxy"), ("ALL_PROXY", "all_proxy")] {
            let variable = |asked: &str| (asked == name).then(|| "socks5://r:3".to_owned());
            let refused = find(&ProxySettings::Environment, &target, variable).unwrap_err();
            let message = refused.to_string();
            let expected = format!("environment variable {shown}: invalid proxy URL socks5://r:3");
            assert!(message.contains(&expected), "{message}");
        }
    }
}
