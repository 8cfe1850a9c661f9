//! Limits of the process and of the host's network.

#![expect(
    unsafe_code,
    reason = "getrlimit and setrlimit have no safe form in the standard library"
)]

/// Soft and hard limit on open file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit {
    /// What the process may open now.
    pub soft: u64,
    /// What it may raise the soft limit to.
    pub hard: u64,
}

/// The present limit on open file descriptors.
pub fn file_limit() -> FileLimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid, writable rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    FileLimit {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    }
}

/// Raises the soft limit so that at least `needed` descriptors can be open, if the hard limit
/// allows.
///
/// Returns the limit in force afterwards; it is smaller than `needed` if the hard limit is.
pub fn raise_file_limit(needed: u64) -> FileLimit {
    let present = file_limit();
    if present.soft < needed && present.soft < present.hard {
        let wanted = libc::rlimit {
            rlim_cur: needed.min(present.hard),
            rlim_max: present.hard,
        };
        // SAFETY: `wanted` is a valid rlimit that does not exceed the hard limit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
    }
    file_limit()
}

/// Memory of the host in bytes, where the platform says.
pub fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Number of descriptors that the process has open, where the platform says.
pub fn open_files() -> Option<u64> {
    std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| entries.count() as u64)
}

/// The range of local ports for outgoing connections, where the platform says.
pub fn local_port_range() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_never_passes_the_hard_one() {
        let before = file_limit();
        let after = raise_file_limit(u64::MAX);
        assert_eq!(after.hard, before.hard);
        assert!(after.soft >= before.soft && after.soft <= after.hard);
    }
}
