//! What the flags about connections mean.

use inferometer_core::{Nanos, Secret};
use inferometer_wire::{
    Balance, ClientSettings, ConnectPolicy, ProxySettings, Timeouts, TlsSettings,
};

use crate::args::{self, ConnectionArgs};
use crate::exit::Failure;

/// How connections are made.
#[derive(Debug)]
pub(crate) struct ConnectionSettings {
    tls: TlsSettings,
    http2: bool,
    proxy: ProxySettings,
    connect: ConnectPolicy,
    balance: Balance,
    source_ips: Vec<std::net::IpAddr>,
    timeouts: Timeouts,
}

impl ConnectionSettings {
    pub(super) fn resolve(args: ConnectionArgs) -> Result<Self, Failure> {
        Ok(Self {
            tls: TlsSettings {
                insecure: args.insecure,
                ca_file: args.ca_cert,
                client_cert: args.client_cert,
                client_key: args.client_key,
            },
            http2: args.http2,
            proxy: match args.proxy {
                None => ProxySettings::Environment,
                Some(none) if none == "none" => ProxySettings::Off,
                Some(url) => ProxySettings::Url(Secret::new(url)),
            },
            connect: match args.connect {
                args::Connect::Ahead => ConnectPolicy::Ahead,
                args::Connect::Lazy => ConnectPolicy::Lazy,
                args::Connect::PerRequest => ConnectPolicy::PerRequest,
            },
            balance: match args.balance {
                args::Balance::RoundRobin => Balance::RoundRobin,
                args::Balance::LeastInFlight => Balance::LeastInFlight,
                args::Balance::SessionSticky => Balance::SessionSticky,
            },
            source_ips: args.source_ip,
            timeouts: Timeouts {
                connect: limit("--connect-timeout", args.connect_timeout)?,
                first_byte: limit("--first-byte-timeout", args.first_byte_timeout)?,
                idle: limit("--idle-timeout", args.idle_timeout)?,
                total: args
                    .total_timeout
                    .map(|total| limit("--total-timeout", total))
                    .transpose()?,
                ..Timeouts::default()
            },
        })
    }

    /// Puts these settings into those of the client.
    pub(crate) fn apply(&self, client: &mut ClientSettings) {
        client.tls = self.tls.clone();
        client.http2 = self.http2;
        client.proxy = self.proxy.clone();
        client.connect = self.connect;
        client.balance = self.balance;
        client.source_ips.clone_from(&self.source_ips);
        client.timeouts = self.timeouts;
    }
}

/// A limit of so many seconds.
fn limit(flag: &str, limit: f64) -> Result<Nanos, Failure> {
    let limit = seconds(flag, limit)?;
    if limit == Nanos::ZERO {
        return Err(Failure::usage(format!(
            "{flag} 0: nothing is that fast; give a number of seconds"
        )));
    }
    Ok(limit)
}

/// So many seconds, at most a year.
pub(super) fn seconds(flag: &str, seconds: f64) -> Result<Nanos, Failure> {
    if (0.0..=31_536_000.0).contains(&seconds) {
        Ok(Nanos::from_secs_f64(seconds))
    } else {
        Err(Failure::usage(format!(
            "{flag} {seconds}: give a number of seconds from 0 to 31536000"
        )))
    }
}
