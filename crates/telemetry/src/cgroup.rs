//! The control group that the process lives in: quota, memory limit, throttling.

use std::fs;
use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Throttling};

/// Where the process's control group keeps its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Folders with the CPU controller's files, from the process's own group upwards.
    cpu: Vec<PathBuf>,
    /// The same for memory.
    memory: Vec<PathBuf>,
}

impl Cgroup {
    /// The control group of this process.
    pub(crate) fn of_this_process() -> Self {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::locate(&text, Path::new("/sys/fs/cgroup"))
    }

    /// Finds the folders from the text of `/proc/self/cgroup`, whose lines are
    /// `number:controllers:path`; version 2 has one line with number 0 and no controllers.
    pub(crate) fn locate(proc_cgroup: &str, root: &Path) -> Self {
        let path_of = |controller: &str| {
            let mut lines = proc_cgroup.lines().filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                Some((parts.next()?, parts.next()?))
            });
            lines
                .find(|(names, _)| names.split(',').any(|name| name == controller))
                .map(|(_, path)| path)
        };
        let v2 = proc_cgroup
            .lines()
            .find_map(|line| line.strip_prefix("0::"));
        let controller = |name: &str, file: &str| match (path_of(name), v2) {
            // With both versions mounted, a controller belongs to version 1 where it is named
            // there.
            (Some(path), _) => {
                version_1(root, name).map_or_else(Vec::new, |root| levels(&root, path))
            }
            (None, Some(path)) => {
                // Beside version 1, version 2 has a folder of its own.
                let roots = [root.to_owned(), root.join("unified")];
                let root = roots.into_iter().find(|root| {
                    root.join("cgroup.controllers").exists() || root.join(file).exists()
                });
                root.map_or_else(Vec::new, |root| levels(&root, path))
            }
            (None, None) => Vec::new(),
        };
        Self {
            cpu: controller("cpu", "cpu.max"),
            memory: controller("memory", "memory.max"),
        }
    }

    /// CPUs that the tightest quota on the way up leaves, if there is one.
    pub(crate) fn cpu_quota(&self) -> Option<f64> {
        self.cpu
            .iter()
            .filter_map(|folder| quota(folder))
            .min_by(f64::total_cmp)
    }

    /// The tightest memory limit on the way up in bytes, if there is one.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        let limit = |folder: &PathBuf| {
            read_number(&folder.join("memory.max"))
                .or_else(|| read_number(&folder.join("memory.limit_in_bytes")))
                // Version 1 says "none" by a number near the largest one.
                .filter(|&bytes| bytes < 1 << 60)
        };
        self.memory.iter().filter_map(limit).min()
    }

    /// Throttling so far, of the nearest group that has a quota, else of the nearest that counts.
    pub(crate) fn throttling(&self) -> Option<Throttling> {
        let limited = self.cpu.iter().filter(|folder| quota(folder).is_some());
        limited
            .chain(&self.cpu)
            .find_map(|folder| parse_cpu_stat(&fs::read_to_string(folder.join("cpu.stat")).ok()?))
    }
}

/// Where version 1 keeps a controller: a folder with its name, or one that it shares with others,
/// such as `cpu,cpuacct`.
fn version_1(root: &Path, controller: &str) -> Option<PathBuf> {
    let own = root.join(controller);
    if own.is_dir() {
        return Some(own);
    }
    let folders = fs::read_dir(root).ok()?.filter_map(Result::ok);
    let mut shared = folders.filter(|folder| {
        folder
            .file_name()
            .to_str()
            .is_some_and(|name| name.split(',').any(|name| name == controller))
    });
    shared.next().map(|folder| folder.path())
}

/// The folder of a group and of each group above it. Inside a container the path of the host may
/// not exist; then only the root remains, which is the container's own group.
fn levels(root: &Path, path: &str) -> Vec<PathBuf> {
    let own = root.join(path.trim_start_matches('/'));
    own.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter(|folder| folder.is_dir())
        .map(Path::to_owned)
        .collect()
}

fn quota(folder: &Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(folder.join("cpu.max")) {
        let mut parts = text.split_whitespace();
        let quota: f64 = parts.next()?.parse().ok()?;
        let period: f64 = parts.next()?.parse().ok()?;
        return (period > 0.0).then_some(quota / period);
    }
    // Version 1 says "none" by -1, which is not an unsigned number.
    let quota = read_number(&folder.join("cpu.cfs_quota_us"))?;
    let period = read_number(&folder.join("cpu.cfs_period_us"))?;
    (period > 0).then_some(quota as f64 / period as f64)
}

/// `nr_throttled` with `throttled_usec` (version 2) or `throttled_time` in nanoseconds (version 1).
fn parse_cpu_stat(text: &str) -> Option<Throttling> {
    let value = |name: &str| -> Option<u64> {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    };
    let time = value("throttled_usec")
        .map(Nanos::from_micros)
        .or(value("throttled_time").map(Nanos))?;
    Some(Throttling {
        periods: value("nr_throttled")?,
        time,
    })
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn version_2_takes_the_tightest_limit_on_the_way_up() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("cgroup.controllers", "cpu memory"),
                (
                    "cpu.stat",
                    "usage_usec 1\nnr_periods 1\nnr_throttled 1\nthrottled_usec 1\n",
                ),
                ("pod/cpu.max", "150000 100000\n"),
                ("pod/memory.max", "1000000\n"),
                (
                    "pod/cpu.stat",
                    "usage_usec 9\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2500\n",
                ),
                ("pod/app/cpu.max", "max 100000\n"),
                ("pod/app/memory.max", "max\n"),
                (
                    "pod/app/cpu.stat",
                    "usage_usec 9\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
                ),
            ],
        );
        let cgroup = Cgroup::locate("0::/pod/app\n", root.path());
        assert_eq!(cgroup.cpu_quota(), Some(1.5));
        assert_eq!(cgroup.memory_limit(), Some(1_000_000));
        assert_eq!(
            cgroup.throttling(),
            Some(Throttling {
                periods: 4,
                time: Nanos::from_micros(2_500)
            })
        );
    }

    #[test]
    fn version_1_is_read_too_and_a_missing_path_means_the_root() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("cpu/cpu.cfs_quota_us", "50000\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
                (
                    "cpu/cpu.stat",
                    "nr_periods 7\nnr_throttled 3\nthrottled_time 1500\n",
                ),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let text = "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n";
        let cgroup = Cgroup::locate(text, root.path());
        assert_eq!(cgroup.cpu_quota(), Some(0.5));
        assert_eq!(cgroup.memory_limit(), None);
        assert_eq!(
            cgroup.throttling(),
            Some(Throttling {
                periods: 3,
                time: Nanos(1_500)
            })
        );
    }

    #[test]
    fn both_versions_side_by_side_are_read() {
        // The processor's controller with version 1, in a folder that it shares; memory with
        // version 2.
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("cpu,cpuacct/a/cpu.cfs_quota_us", "20000\n"),
                ("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
                (
                    "cpu,cpuacct/a/cpu.stat",
                    "nr_periods 7\nnr_throttled 2\nthrottled_time 9000\nnr_bursts 0\n",
                ),
                (
                    "cpu,cpuacct/cpu.stat",
                    "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
                ),
                ("cpuset/tasks", ""),
                ("unified/cgroup.controllers", "memory\n"),
                ("unified/b/memory.max", "5000\n"),
            ],
        );
        let cgroup = Cgroup::locate("3:cpuset:/\n1:cpu,cpuacct:/a\n0::/b\n", root.path());
        assert_eq!(cgroup.cpu_quota(), Some(0.2));
        assert_eq!(
            cgroup.throttling(),
            Some(Throttling {
                periods: 2,
                time: Nanos(9_000)
            })
        );
        assert_eq!(cgroup.memory_limit(), Some(5_000));
    }

    #[test]
    fn without_control_groups_nothing_is_claimed() {
        let root = tempfile::tempdir().unwrap();
        for text in ["", "garbage", "0::/a\n", "1:cpu:/\n"] {
            let cgroup = Cgroup::locate(text, root.path());
            assert_eq!(
                (cgroup.cpu_quota(), cgroup.throttling()),
                (None, None),
                "{text}"
            );
        }
    }
}
