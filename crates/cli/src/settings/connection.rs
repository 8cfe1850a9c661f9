//! Settings of connections.

use inferometer_benchmark::settings::ConnectionSettings;
use inferometer_core::{Nanos, Secret};
use inferometer_wire::{Balance, ConnectPolicy, ProxySettings, Timeouts, TlsSettings};

use crate::args::{self, ConnectionArgs};
use crate::exit::Failure;

/// Checks and resolves the flags.
pub(super) fn resolve(args: ConnectionArgs) -> Result<ConnectionSettings, Failure> {
    let ConnectionArgs {
        insecure,
        ca_cert,
        client_cert,
        client_key,
        http2,
        proxy,
        connect,
        balance,
        source_ip,
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        total_timeout,
    } = args;
    // With an http URL nothing else would read them.
    for (flag, file) in [
        ("--ca-cert", &ca_cert),
        ("--client-cert", &client_cert),
        ("--client-key", &client_key),
    ] {
        if let Some(file) = file.as_ref().filter(|file| !file.exists()) {
            return Err(Failure::usage(format!(
                "{flag} {}: no such file",
                file.display()
            )));
        }
    }
    Ok(ConnectionSettings {
        tls: TlsSettings {
            insecure,
            ca_file: ca_cert,
            client_cert,
            client_key,
        },
        http2,
        proxy: match proxy {
            None => ProxySettings::Environment,
            Some(none) if none == "none" => ProxySettings::Off,
            Some(url) => ProxySettings::Url(Secret::url(url)),
        },
        connect: match connect {
            args::Connect::Ahead => ConnectPolicy::Ahead,
            args::Connect::Lazy => ConnectPolicy::Lazy,
            args::Connect::PerRequest => ConnectPolicy::PerRequest,
        },
        balance: match balance {
            args::Balance::RoundRobin => Balance::RoundRobin,
            args::Balance::LeastInFlight => Balance::LeastInFlight,
            args::Balance::SessionSticky => Balance::SessionSticky,
        },
        source_ips: source_ip,
        timeouts: Timeouts {
            connect: limit("--connect-timeout", connect_timeout)?,
            first_byte: limit("--first-byte-timeout", first_byte_timeout)?,
            idle: limit("--idle-timeout", idle_timeout)?,
            total: total_timeout
                .map(|total| limit("--total-timeout", total))
                .transpose()?,
            ..Timeouts::default()
        },
    })
}

/// A timeout, which must be greater than 0.
fn limit(flag: &str, limit: f64) -> Result<Nanos, Failure> {
    let limit = seconds(flag, limit)?;
    if limit == Nanos::ZERO {
        return Err(Failure::usage(format!("{flag} 0: must be greater than 0")));
    }
    Ok(limit)
}

/// A number of seconds, at most a year.
pub(super) fn seconds(flag: &str, seconds: f64) -> Result<Nanos, Failure> {
    if (0.0..=31_536_000.0).contains(&seconds) {
        Ok(Nanos::from_secs_f64(seconds))
    } else {
        Err(Failure::usage(format!(
            "{flag} {seconds}: must be a number of seconds from 0 to 31536000 (a year)"
        )))
    }
}
