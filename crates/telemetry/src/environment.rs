//! The machine that a run was made on, for the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use inferometer_core::redact_url;
use inferometer_os::limits;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;

/// The machine that a run was made on. What the platform does not report is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Name of the host.
    pub host_name: Option<String>,
    /// Name of the distribution.
    pub system: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    /// Instruction set that the program was built for.
    pub architecture: String,
    /// CPUs.
    pub cpu: CpuInfo,
    /// Memory.
    pub memory: MemoryInfo,
    /// Limits of the process and the network.
    pub limits: LimitsInfo,
    /// The kernel's clock source (`tsc`, `kvm-clock`, `hpet` …).
    pub clock_source: Option<String>,
    /// The kind of container, as far as it can be guessed.
    pub container: Option<String>,
    /// Addresses of proxies from the environment, without user name and password.
    pub proxies: BTreeMap<String, String>,
    /// Names of further environment variables that influence client or server. Their values, which
    /// may be secret, are left out.
    pub variables: BTreeSet<String>,
}

/// CPUs of the host, and how much of them the process may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuInfo {
    /// Model name.
    pub model: Option<String>,
    /// Logical CPUs of the host.
    pub logical: Option<usize>,
    /// Physical cores of the host.
    pub cores: Option<usize>,
    /// CPUs that the process may use, by affinity and quota.
    pub usable: Option<usize>,
    /// Quota of the control group in CPUs.
    pub quota: Option<f64>,
    /// Frequency governors in use.
    pub governors: BTreeSet<String>,
    /// True when the CPUs are those of a virtual machine.
    pub virtual_machine: Option<bool>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryInfo {
    /// Of the host.
    pub total_bytes: Option<u64>,
    /// Available on the host when the run began.
    pub available_bytes: Option<u64>,
    /// Limit of the control group.
    pub limit_bytes: Option<u64>,
}

/// Limits of the process and the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsInfo {
    /// Soft limit on open files.
    pub open_files: u64,
    /// Hard limit on open files.
    pub open_files_hard: u64,
    /// Local ports for outgoing connections, first and last.
    pub local_ports: Option<(u16, u16)>,
    /// Longest queue of connections waiting to be accepted.
    pub listen_backlog: Option<u64>,
}

/// Name of the host, where the platform reports it.
pub fn host_name() -> Option<String> {
    read_line("/proc/sys/kernel/hostname")
}

impl Environment {
    /// Describes this machine. Takes a few milliseconds; reads files only.
    pub fn capture() -> Self {
        let cgroup = Cgroup::of_this_process();
        let files = limits::file_limit();
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((
                    name.into_string().ok()?,
                    value.to_string_lossy().into_owned(),
                ))
            })
            .collect();
        Self {
            host_name: host_name(),
            system: fs::read_to_string("/etc/os-release")
                .ok()
                .and_then(|text| distribution(&text)),
            kernel: read_line("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu: CpuInfo {
                usable: std::thread::available_parallelism().ok().map(usize::from),
                quota: cgroup.cpu_quota(),
                governors: governors(Path::new("/sys/devices/system/cpu")),
                ..fs::read_to_string("/proc/cpuinfo")
                    .map(|text| parse_cpuinfo(&text))
                    .unwrap_or_default()
            },
            memory: MemoryInfo {
                limit_bytes: cgroup.memory_limit(),
                ..fs::read_to_string("/proc/meminfo")
                    .map(|text| parse_meminfo(&text))
                    .unwrap_or_default()
            },
            limits: LimitsInfo {
                open_files: files.soft,
                open_files_hard: files.hard,
                local_ports: limits::local_port_range(),
                listen_backlog: read_line("/proc/sys/net/core/somaxconn")
                    .and_then(|text| text.parse().ok()),
            },
            clock_source: read_line(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            ),
            container: container(),
            proxies: proxies(&variables),
            variables: relevant_names(&variables),
        }
    }
}

fn read_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

fn distribution(os_release: &str) -> Option<String> {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim().trim_matches('"').to_owned())
}

fn parse_cpuinfo(text: &str) -> CpuInfo {
    let values = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
    };
    let logical = values("processor").count();
    // Pairs of package and core, each listed once per hardware thread.
    let cores: BTreeSet<_> = values("physical id").zip(values("core id")).collect();
    // x86 lists what a hypervisor announces among the flags; other architectures do not say.
    let flags = values("flags").next();
    CpuInfo {
        model: values("model name").next().map(str::to_owned),
        logical: (logical > 0).then_some(logical),
        cores: (!cores.is_empty()).then_some(cores.len()),
        virtual_machine: flags.map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        ..CpuInfo::default()
    }
}

fn parse_meminfo(text: &str) -> MemoryInfo {
    let bytes = |key: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = rest.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1_024)
    };
    MemoryInfo {
        total_bytes: bytes("MemTotal:"),
        available_bytes: bytes("MemAvailable:"),
        limit_bytes: None,
    }
}

fn governors(cpus: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(cpus) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok())
        .map(|text| text.trim().to_owned())
        .collect()
}

fn container() -> Option<String> {
    let kind = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        "kubernetes".to_owned()
    } else if Path::new("/run/.containerenv").exists() {
        "podman".to_owned()
    } else if Path::new("/.dockerenv").exists() {
        "docker".to_owned()
    } else if let Ok(kind) = std::env::var("container") {
        // Set by systemd-nspawn, LXC and others to their own name.
        kind
    } else if read_line("/proc/sys/kernel/osrelease")?
        .to_lowercase()
        .contains("microsoft")
    {
        "wsl".to_owned()
    } else {
        return None;
    };
    Some(kind)
}

const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

fn proxies(variables: &[(String, String)]) -> BTreeMap<String, String> {
    let is_proxy = |name: &str| {
        PROXY_VARIABLES
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    let redact = |value: &String| {
        value
            .split(',')
            .map(redact_url)
            .collect::<Vec<_>>()
            .join(",")
    };
    variables
        .iter()
        .filter(|(name, value)| is_proxy(name) && !value.is_empty())
        .map(|(name, value)| (name.clone(), redact(value)))
        .collect()
}

/// Variables that change what a client, a tokenizer or a local server does.
const RELEVANT_PREFIXES: [&str; 18] = [
    "INFEROMETER_",
    "VLLM_",
    "SGLANG_",
    "LLAMA_",
    "GGML_",
    "HF_",
    "HUGGING",
    "TRANSFORMERS_",
    "TOKENIZERS_",
    "OPENAI_",
    "ANTHROPIC_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "OMP_",
    "SLURM_",
    "SAVE_TO_PYTORCH_",
    "SSL_CERT_",
];

fn relevant_names(variables: &[(String, String)]) -> BTreeSet<String> {
    let is_relevant = |name: &&String| {
        RELEVANT_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || *name == "TZ"
    };
    variables
        .iter()
        .map(|(name, _)| name)
        .filter(is_relevant)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_environment_are_not_kept() {
        let variables = [
            ("HTTPS_PROXY", "http://me:pa55@proxy:3128"),
            ("no_proxy", "localhost,10.0.0.0/8"),
            ("OPENAI_API_KEY", "sk-pa55"),
            ("HF_TOKEN", "hf_pa55"),
            ("HOME", "/root"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment {
            proxies: proxies(&variables),
            variables: relevant_names(&variables),
            ..Environment::default()
        };
        let json = serde_json::to_string(&environment).unwrap();
        assert!(!json.contains("pa55"), "{json}");
        assert_eq!(environment.proxies["HTTPS_PROXY"], "http://***@proxy:3128");
        assert_eq!(environment.proxies["no_proxy"], "localhost,10.0.0.0/8");
        assert!(
            environment
                .variables
                .iter()
                .eq(["HF_TOKEN", "OPENAI_API_KEY"])
        );
    }

    #[test]
    fn processors_are_counted_by_thread_and_by_core() {
        let thread = |n, package, core| {
            format!(
                "processor\t: {n}\nmodel name\t: Fast CPU\nflags\t\t: fpu hypervisor sse\nphysical id\t: {package}\ncore id\t\t: {core}\n\n"
            )
        };
        let text = [
            thread(0, 0, 0),
            thread(1, 0, 0),
            thread(2, 1, 0),
            thread(3, 1, 0),
        ]
        .concat();
        let cpu = parse_cpuinfo(&text);
        assert_eq!((cpu.logical, cpu.cores), (Some(4), Some(2)));
        assert_eq!(cpu.model.as_deref(), Some("Fast CPU"));
        assert_eq!(cpu.virtual_machine, Some(true));
        assert_eq!(parse_cpuinfo(""), CpuInfo::default());
    }

    #[test]
    fn memory_is_in_bytes() {
        let memory =
            parse_meminfo("MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n");
        assert_eq!(
            (memory.total_bytes, memory.available_bytes),
            (Some(16 << 20), Some(2 << 20))
        );
        assert_eq!(
            distribution("A=1\nPRETTY_NAME=\"Some Linux 12\"\n").as_deref(),
            Some("Some Linux 12")
        );
    }

    #[test]
    fn this_machine_can_be_captured_and_read_back() {
        let environment = Environment::capture();
        assert!(environment.limits.open_files > 0);
        assert!(environment.cpu.usable.is_some());
        let json = serde_json::to_string(&environment).unwrap();
        assert_eq!(
            serde_json::from_str::<Environment>(&json).unwrap(),
            environment
        );
    }
}
