//! How connections are made.

use std::net::IpAddr;

use inferometer_core::Nanos;
use inferometer_core::redact::redact_url;
use inferometer_wire::{
    Balance, ClientSettings, ConnectPolicy, ProxySettings, Timeouts, TlsSettings,
};
use serde::{Deserialize, Serialize};

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct ConnectionSettings {
    /// Certificates and keys.
    pub tls: TlsSettings,
    /// Use HTTP/2.
    pub http2: bool,
    /// Which proxy to use.
    pub proxy: ProxySettings,
    /// When connections are opened.
    pub connect: ConnectPolicy,
    /// Which of several URLs a request goes to.
    pub balance: Balance,
    /// Local addresses to send from.
    pub source_ips: Vec<IpAddr>,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl ConnectionSettings {
    /// Copies these settings into those of the client.
    pub(crate) fn apply(&self, client: &mut ClientSettings) {
        client.tls = self.tls.clone();
        client.http2 = self.http2;
        client.proxy = self.proxy.clone();
        client.connect = self.connect;
        client.balance = self.balance;
        client.source_ips.clone_from(&self.source_ips);
        client.timeouts = self.timeouts;
    }

    /// The form in the manifest.
    pub(crate) fn spec(&self) -> ConnectionSpec {
        let Self {
            tls,
            http2,
            proxy,
            connect,
            balance,
            source_ips,
            timeouts,
        } = self;
        ConnectionSpec {
            insecure: tls.insecure,
            http2: *http2,
            proxy: match &proxy {
                ProxySettings::Environment => "environment".to_owned(),
                ProxySettings::Off => "none".to_owned(),
                ProxySettings::Url(url) => redact_url(url.expose()),
            },
            connect: match connect {
                ConnectPolicy::Ahead => "ahead",
                ConnectPolicy::Lazy => "lazy",
                ConnectPolicy::PerRequest => "per-request",
            }
            .to_owned(),
            balance: match balance {
                Balance::RoundRobin => "round-robin",
                Balance::LeastInFlight => "least-in-flight",
                Balance::SessionSticky => "session-sticky",
            }
            .to_owned(),
            source_ips: source_ips.clone(),
            connect_timeout_s: timeouts.connect.as_secs_f64(),
            first_byte_timeout_s: timeouts.first_byte.as_secs_f64(),
            idle_timeout_s: timeouts.idle.as_secs_f64(),
            total_timeout_s: timeouts.total.map(Nanos::as_secs_f64),
        }
    }
}

/// How connections were made. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionSpec {
    /// Certificates were not verified.
    pub insecure: bool,
    /// HTTP/2 was used.
    pub http2: bool,
    /// `environment`, `none`, or a URL.
    pub proxy: String,
    /// `ahead`, `lazy` or `per-request`.
    pub connect: String,
    /// `round-robin`, `least-in-flight` or `session-sticky`.
    pub balance: String,
    /// Local addresses.
    pub source_ips: Vec<IpAddr>,
    /// Limit for connecting.
    pub connect_timeout_s: f64,
    /// Limit for the first byte of an answer.
    pub first_byte_timeout_s: f64,
    /// Limit between two reads.
    pub idle_timeout_s: f64,
    /// Limit for the whole exchange; `None` for none.
    pub total_timeout_s: Option<f64>,
}
