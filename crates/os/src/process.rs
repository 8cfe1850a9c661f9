//! Child processes that can be ended as a whole, with everything that they have started.

#![expect(
    unsafe_code,
    reason = "signals to process groups have no safe form in the standard library"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

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

/// True when this process was started with SIGHUP ignored, as `nohup` does: whoever did that wants
/// the process to outlive its terminal.
pub fn ignores_hangup() -> bool {
    // SAFETY: an all-zero sigaction is valid, and with a null pointer for the new action the call
    // only fills the old one.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut old) == 0
            && old.sa_sigaction == libc::SIG_IGN
    }
}

/// A child process that leads a process group of its own.
///
/// The leader is not reaped before [`ProcessGroup::finish`], so that its id cannot meanwhile go to
/// another process: a signal reaches this group or nothing.
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    finished: bool,
}

impl ProcessGroup {
    /// Starts `command` as the leader of a new group.
    ///
    /// On Linux the leader is killed should this process die first; for that the calling thread
    /// must live as long as the group.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id().cast_signed();
            // SAFETY: between fork and exec only prctl and getppid are called, both
            // async-signal-safe, and no memory is touched.
            unsafe {
                command.pre_exec(move || {
                    if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    // The parent may have died before the line above.
                    if libc::getppid() != parent {
                        return Err(io::Error::from_raw_os_error(libc::ESRCH));
                    }
                    Ok(())
                });
            }
        }
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

    /// Sends a signal to all processes of the group. A group that has ended already is not an error.
    ///
    /// # Errors
    ///
    /// `kill` failed, but for a group that has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: killpg takes two integers. The leader is not reaped yet, so that the number is
        // ours.
        let result = unsafe { libc::killpg(self.child.id().cast_signed(), signal.number()) };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// True when the leader has ended. It is not reaped by asking.
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

    /// Kills whatever is left of the group and returns how the leader ended.
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
        self.child.wait()
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
