//! Child processes that can be ended as a whole, with everything that they have started.

#![expect(
    unsafe_code,
    reason = "signals to process groups have no safe form in the standard library"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use crate::group_signals::KILL_ALL;

/// A signal to a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// As by Ctrl-C.
    Interrupt,
    /// A request to end.
    Terminate,
    /// The end at once.
    Kill,
}

impl Signal {
    const fn number(self) -> libc::c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
        }
    }
}

/// True when this process was started with the signal of this number ignored, as `nohup` and `trap '' INT`
/// do: whoever did that wants the process not to end by it.
pub fn ignores(signal: libc::c_int) -> bool {
    // SAFETY: an all-zero sigaction is valid, and with a null pointer for the new action the call
    // only fills the old one.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
            && old.sa_sigaction == libc::SIG_IGN
    }
}

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail with an error, which can be
/// reported, instead of ending the process without a word. Python does the same.
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal runs no code in this process, and this one has no handler to lose.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Ends this process as Ctrl-C does without a handler: a shell shows the code 130.
pub fn end_by_interrupt() {
    // SAFETY: both calls take integers. The default action runs no code of this process.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::raise(libc::SIGINT);
    }
}

/// A child process that leads a process group of its own, and everything that it starts.
///
/// The leader is not reaped before [`ProcessGroup::finish`], so that its id cannot meanwhile go to
/// another process: a signal reaches this group or nothing.
///
/// On Linux the leader is a supervisor (see the module `supervisor`), and the command is its child:
/// whatever the command starts ends with it, also what has left the group (`setsid`), and all of it
/// ends with this process, even if that is killed.
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    finished: bool,
}

impl ProcessGroup {
    /// Starts `command` in a new group.
    ///
    /// On Linux all of it is killed should this process die first; for that the calling thread must
    /// live as long as the group.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        crate::supervisor::install(command);
        Ok(Self {
            child: command.spawn()?,
            finished: false,
        })
    }

    /// The child, for its pipes. Waiting for it is left to [`ProcessGroup::finish`].
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Process id of the leader, and id of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to all processes of the group; [`Signal::Kill`] also to those that the command
    /// started and that have left the group. A group that has ended already is not an error.
    ///
    /// # Errors
    ///
    /// `kill` failed, but for a group that has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let leader = self.child.id().cast_signed();
        // SAFETY: kill and killpg take two integers. The leader is not reaped yet, so that the
        // number is ours.
        let result = unsafe {
            if cfg!(target_os = "linux") && signal == Signal::Kill {
                libc::kill(leader, KILL_ALL)
            } else {
                libc::killpg(leader, signal.number())
            }
        };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// True when the command has ended. It is not reaped by asking.
    ///
    /// # Errors
    ///
    /// `waitid` failed.
    pub fn has_ended(&self) -> io::Result<bool> {
        // SAFETY: siginfo_t is plain old data that waitid fills in; the child is ours and not
        // reaped yet.
        let (result, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            (
                libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options),
                info,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waitid has filled in the part that belongs to SIGCHLD, or left it zero.
        Ok(unsafe { info.si_pid() } != 0)
    }

    fn wait_without_reaping(&self) -> io::Result<()> {
        loop {
            // SAFETY: as in `has_ended`.
            let result = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let options = libc::WEXITED | libc::WNOWAIT;
                libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options)
            };
            if result == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Kills whatever is left of the group and returns how the command ended.
    ///
    /// # Errors
    ///
    /// `wait` failed.
    pub fn finish(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::Kill)?;
        self.finished = true;
        if cfg!(target_os = "linux") {
            // The supervisor has ended all by now, unless it was killed by somebody else.
            self.wait_without_reaping()?;
            // SAFETY: killpg takes two integers. The leader is not reaped yet.
            let _ = unsafe { libc::killpg(self.child.id().cast_signed(), libc::SIGKILL) };
        }
        self.child.wait()
    }
}

/// A process, told apart from a later one that got the same number. Found through `/proc`: elsewhere
/// than on Linux there seem to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the system did.
    pub started: u64,
}

impl ProcessId {
    /// The process that has the number `pid` now; `None` when there is none, or it has ended and is
    /// only waiting to be reaped.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses, and may hold any character.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        // Field 22 of proc(5); the state is field 3.
        let started = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started })
    }

    /// True while it runs.
    pub fn is_running(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Its command line, with blanks between the arguments.
    pub fn command(self) -> String {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.trim_end().to_owned()
    }

    /// The processes that `pid` has started, and those that they have started.
    pub fn below(pid: u32) -> Vec<Self> {
        let mut found = Vec::new();
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let children =
                    std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                let children = children
                    .split_ascii_whitespace()
                    .filter_map(|child| child.parse().ok());
                for child in children {
                    parents.push(child);
                    found.extend(Self::of(child));
                }
            }
        }
        found
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.finished {
            // There is no caller left for an error.
            drop(self.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    #[test]
    fn the_whole_group_ends_and_nothing_else() {
        // The pipe reads to its end only when the grandchild, which holds it open, is gone too.
        let mut group = ProcessGroup::spawn(&mut shell("sleep 600 & echo started; wait")).unwrap();
        let mut other = ProcessGroup::spawn(&mut shell("exec sleep 600")).unwrap();
        let mut pipe = group.child().stdout.take().unwrap();
        let mut first = [0; 8];
        pipe.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"started\n");
        assert!(!group.has_ended().unwrap());
        let status = group.finish().unwrap();
        assert!(!status.success());
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).unwrap();
        assert!(!other.has_ended().unwrap());
        other.child().stdout.take();
        other.finish().unwrap();
    }

    /// The process ids that a shell has printed, once per line.
    fn printed(pipe: &mut impl Read, count: usize) -> Vec<u32> {
        let mut text = String::new();
        let mut byte = [0];
        while text.lines().count() < count || !text.ends_with('\n') {
            pipe.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[cfg(target_os = "linux")]
    fn is_alive(id: u32) -> bool {
        ProcessId::of(id).is_some()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_has_left_the_group_ends_with_it() {
        // A server in a session of its own, and one whose parent has ended before it.
        let script = "setsid sh -c 'echo $$; exec sleep 600' & (sh -c 'echo $$; exec setsid sleep 600' &) ; wait; sleep 600";
        let mut group = ProcessGroup::spawn(&mut shell(script)).unwrap();
        let mut pipe = group.child().stdout.take().unwrap();
        let servers = printed(&mut pipe, 2);
        assert!(servers.iter().all(|&id| is_alive(id)));
        assert!(ProcessId::below(group.id()).len() >= 3);
        drop(group);
        assert!(servers.iter().all(|&id| !is_alive(id)), "{servers:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn everything_ends_with_a_command_that_ends() {
        let script = "setsid sleep 600 & echo $!; exit 7";
        let mut group = ProcessGroup::spawn(&mut shell(script)).unwrap();
        let mut pipe = group.child().stdout.take().unwrap();
        let left = printed(&mut pipe, 1);
        // The supervisor closes its side when it has ended all.
        pipe.read_to_end(&mut Vec::new()).unwrap();
        while !group.has_ended().unwrap() {
            std::thread::yield_now();
        }
        assert!(!is_alive(left[0]));
        assert_eq!(group.finish().unwrap().code(), Some(7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn everything_ends_with_the_thread_that_started_it() {
        let (left, mut pipe) = std::thread::spawn(|| {
            let script = "setsid sleep 600 & echo $!; wait";
            let mut group = ProcessGroup::spawn(&mut shell(script)).unwrap();
            let mut pipe = group.child().stdout.take().unwrap();
            let left = printed(&mut pipe, 1);
            // As if this process were killed: nothing is called any more.
            Box::leak(Box::new(group));
            (left, pipe)
        })
        .join()
        .unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        while is_alive(left[0]) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_command_that_does_not_exist_is_an_error() {
        let mut command = Command::new("/no/such/program");
        let error = ProcessGroup::spawn(&mut command).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_signal_reaches_the_command() {
        use std::os::unix::process::ExitStatusExt;
        let script = "trap 'exit 5' TERM; echo $$; while :; do sleep 0.05; done";
        let mut group = ProcessGroup::spawn(&mut shell(script)).unwrap();
        printed(&mut group.child().stdout.take().unwrap(), 1);
        group.signal(Signal::Terminate).unwrap();
        while !group.has_ended().unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(group.finish().unwrap().code(), Some(5));
        let group = ProcessGroup::spawn(&mut shell("exec sleep 600")).unwrap();
        assert_eq!(group.finish().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn has_ended_does_not_reap() {
        let mut group = ProcessGroup::spawn(&mut shell("exit 3")).unwrap();
        let mut all = Vec::new();
        group
            .child()
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut all)
            .unwrap();
        while !group.has_ended().unwrap() {
            std::thread::yield_now();
        }
        assert!(group.has_ended().unwrap());
        group.signal(Signal::Interrupt).unwrap();
        assert_eq!(group.finish().unwrap().code(), Some(3));
    }
}
