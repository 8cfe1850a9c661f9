//! Servers that have outlived the sweep that started them.
//!
//! Everything that a sweep starts ends with it, also when it is killed, because a supervisor sees to
//! it (`os::process`). If that is killed at the same moment, a server in a session of its own lives
//! on, holds the GPU's memory, and disturbs whatever is measured next. So the processes of each
//! server are noted in a file while it runs, and the next sweep names those that are still there.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use inferometer_os::files::{self, SMALL_FILE};
use inferometer_os::process::ProcessId;

/// A process of a server whose sweep is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftServer {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// The processes that earlier sweeps noted in `folder`, and that still run although no sweep looks
/// after them any more. Notes of servers that have ended are removed.
pub fn left_servers(folder: &Path) -> Vec<LeftServer> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(processes) = read(&entry.path()) else {
            continue;
        };
        let Some((supervisor, server)) = processes.split_first() else {
            continue;
        };
        if supervisor.is_running() {
            continue;
        }
        let running: Vec<_> = server
            .iter()
            .filter(|process| process.is_running())
            .collect();
        if running.is_empty() {
            drop(fs::remove_file(entry.path()));
        }
        left.extend(running.into_iter().map(|process| LeftServer {
            pid: process.pid,
            command: process.command(),
        }));
    }
    left
}

/// The processes in a note: the supervisor, then those below it. `None` for any other file.
fn read(path: &Path) -> Option<Vec<ProcessId>> {
    path.extension()
        .filter(|extension| *extension == "server")?;
    let process = |line: &str| {
        let (pid, started) = line.split_once(' ')?;
        Some(ProcessId {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    };
    files::text(path, SMALL_FILE)
        .ok()?
        .lines()
        .map(process)
        .collect()
}

/// The note of one server, which is removed with this value.
#[derive(Debug)]
pub(crate) struct ServerNote {
    path: PathBuf,
    supervisor: ProcessId,
}

impl ServerNote {
    /// A note in `folder` of the server below `supervisor`. Without a folder, or where it cannot be
    /// written, there is none: it is a help, and no condition of a sweep.
    pub(crate) fn begin(folder: Option<&Path>, supervisor: u32) -> Option<Self> {
        let folder = folder?;
        let supervisor = ProcessId::of(supervisor)?;
        fs::create_dir_all(folder).ok()?;
        let path = folder.join(format!("{}.server", supervisor.pid));
        let note = Self { path, supervisor };
        note.renew();
        Some(note)
    }

    /// Writes the processes that are there now.
    pub(crate) fn renew(&self) {
        let mut text = String::new();
        let below = ProcessId::below(self.supervisor.pid);
        for process in std::iter::once(self.supervisor).chain(below) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", process.pid, process.started);
        }
        drop(fs::write(&self.path, text));
    }
}

impl Drop for ServerNote {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_server_without_its_supervisor_is_named_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Only once the program answers is its command line certain to be there: the kernel lets the
        // parent of a `vfork` continue before the new program has its arguments.
        server.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let mut echo = [0];
        server
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut echo)
            .unwrap();
        let id = ProcessId::of(server.id()).unwrap();
        let this = ProcessId::of(std::process::id()).unwrap();
        let note = |supervisor: ProcessId| {
            let text = format!(
                "{} {}\n{} {}\n",
                supervisor.pid, supervisor.started, id.pid, id.started
            );
            fs::write(folder.path().join("1.server"), text).unwrap();
        };
        // Looked after by a process that runs.
        note(this);
        assert_eq!(left_servers(folder.path()), []);
        // The number of that process, but of an earlier one.
        note(ProcessId {
            started: this.started + 1,
            ..this
        });
        let named = LeftServer {
            pid: server.id(),
            command: "cat".to_owned(),
        };
        assert_eq!(left_servers(folder.path()), [named]);
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(left_servers(folder.path()), []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
