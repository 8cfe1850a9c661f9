//! What happened to the client's host during a run.

use std::fs;

use inferometer_core::{ClientHealth, Nanos, Throttling};
use inferometer_os::{clock, limits};

use crate::cgroup::Cgroup;

/// Watches the client's host from the start of a run to its end.
#[derive(Debug)]
pub struct HostWatch {
    cgroup: Cgroup,
    start: Counters,
    open_files_peak: Option<u64>,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    at: Nanos,
    process_cpu: Nanos,
    throttling: Option<Throttling>,
    tcp_retransmits: Option<u64>,
}

/// What happened to the client's host during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostReport {
    /// Time between start and end of the watch.
    pub wall: Nanos,
    /// CPU time of the whole process, workers included.
    pub process_cpu: Nanos,
    /// Throttling by the control group's quota.
    pub throttling: Option<Throttling>,
    /// TCP segments that the host sent again, of all processes.
    pub tcp_retransmits: Option<u64>,
    /// The most descriptors open at once, as far as sampled.
    pub open_files_peak: Option<u64>,
    /// Soft limit on open descriptors.
    pub file_limit: u64,
    /// Local ports available for outgoing connections.
    pub local_ports: Option<u32>,
}

impl HostWatch {
    /// Begins to watch.
    pub fn start() -> Self {
        Self::of(Cgroup::of_this_process())
    }

    fn of(cgroup: Cgroup) -> Self {
        let start = Counters::read(&cgroup);
        Self {
            cgroup,
            start,
            open_files_peak: limits::open_files(),
        }
    }

    /// Samples what has a peak rather than a total. To be called a few times per second from a
    /// thread that has no requests to send.
    pub fn sample(&mut self) {
        self.open_files_peak = self.open_files_peak.max(limits::open_files());
    }

    /// What happened since the start.
    pub fn finish(mut self) -> HostReport {
        self.sample();
        let end = Counters::read(&self.cgroup);
        let throttling = self
            .start
            .throttling
            .zip(end.throttling)
            .map(|(start, end)| Throttling {
                periods: end.periods.saturating_sub(start.periods),
                time: end.time.since(start.time),
            });
        let retransmits = self.start.tcp_retransmits.zip(end.tcp_retransmits);
        HostReport {
            wall: end.at.since(self.start.at),
            process_cpu: end.process_cpu.since(self.start.process_cpu),
            throttling,
            tcp_retransmits: retransmits.map(|(start, end)| end.saturating_sub(start)),
            open_files_peak: self.open_files_peak,
            file_limit: limits::file_limit().soft,
            local_ports: limits::local_port_range()
                .map(|(first, last)| u32::from(last.saturating_sub(first)) + 1),
        }
    }
}

impl HostReport {
    /// Puts the report's figures into `health`, leaving what the engine counts alone.
    pub fn fill(&self, health: &mut ClientHealth) {
        health.cgroup_throttled = self.throttling;
        health.tcp_retransmits = self.tcp_retransmits;
        health.file_limit = Some(self.file_limit);
        health.open_files_peak = self.open_files_peak;
        health.local_ports = self.local_ports;
    }
}

impl Counters {
    fn read(cgroup: &Cgroup) -> Self {
        Self {
            at: clock::now(),
            process_cpu: clock::process_cpu(),
            throttling: cgroup.throttling(),
            tcp_retransmits: fs::read_to_string("/proc/net/snmp")
                .ok()
                .and_then(|text| retransmits(&text)),
        }
    }
}

/// `RetransSegs` out of `/proc/net/snmp`, where each protocol has a line of names and one of
/// values.
fn retransmits(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names
        .split_whitespace()
        .position(|name| name == "RetransSegs")?;
    values.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmits_are_found_by_name() {
        let text =
            "Ip: Forwarding\nIp: 1\nTcp: MaxConn InSegs RetransSegs InErrs\nTcp: -1 99 7 0\n";
        assert_eq!(retransmits(text), Some(7));
        for text in [
            "",
            "Tcp: RetransSegs\n",
            "Tcp: InSegs\nTcp: 1\n",
            "Tcp: RetransSegs\nTcp: x\n",
        ] {
            assert_eq!(retransmits(text), None);
        }
    }

    #[test]
    fn only_throttling_during_the_watch_counts() {
        let (before, after) = ((3, 40_000_u64), (5, 52_500_u64));
        for (file, time, unit) in [
            ("cpu.stat", "throttled_usec", 1),
            ("cpu/cpu.stat", "throttled_time", 1000),
        ] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(root.path().join("cgroup.controllers"), "cpu\n").unwrap();
            let put = |(periods, micros): (u64, u64)| {
                let text = format!(
                    "nr_periods 9\nnr_throttled {periods}\n{time} {}\n",
                    micros * unit
                );
                fs::write(&path, text).unwrap();
            };
            put(before);
            let groups = if unit == 1 {
                "0::/\n"
            } else {
                "4:cpu:/\n0::/\n"
            };
            let watch = HostWatch::of(Cgroup::locate(groups, root.path()));
            put(after);
            let mut health = ClientHealth::default();
            watch.finish().fill(&mut health);
            let lost = Throttling {
                periods: 2,
                time: Nanos::from_micros(12_500),
            };
            assert_eq!(health.cgroup_throttled, Some(lost), "{file}");
        }
    }

    #[test]
    fn a_watch_sees_descriptors_and_processor_time() {
        let mut watch = HostWatch::start();
        let files: Vec<_> = (0..20).map(|_| tempfile::tempfile().unwrap()).collect();
        watch.sample();
        drop(files);
        let report = watch.finish();
        let mut health = ClientHealth {
            connections_opened: 3,
            ..ClientHealth::default()
        };
        report.fill(&mut health);
        assert_eq!(health.connections_opened, 3);
        assert!(health.file_limit.is_some());
        if let (Some(peak), Some(now)) = (health.open_files_peak, limits::open_files()) {
            assert!(peak >= 20 && peak >= now.min(20), "{peak}");
        }
        assert!(report.wall > Nanos::ZERO && report.process_cpu > Nanos::ZERO);
    }
}
