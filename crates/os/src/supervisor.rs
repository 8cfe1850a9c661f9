//! The process between this one and a command, which sees to it that nothing of the command
//! outlives either.
//!
//! A process group and a parent-death signal are not enough: the signal reaches only the child
//! itself, so that a server which a shell has started lives on when we are killed, and a server in a
//! session of its own (`setsid`) is in no group of ours. The supervisor is a *subreaper*: whatever
//! the command has started, however deep, becomes its child when the parents in between end. So it
//! can end all of it by killing its children until it has none.
//!
//! It cannot act if it is killed at the same moment as this process.
//!
//! It is a copy of this process, made between fork and exec, so that it may only make system calls:
//! no memory is allocated, and no lock is taken.

#![expect(
    unsafe_code,
    reason = "fork, signals and waiting have no safe form between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::group_signals::KILL_ALL;

/// What the supervisor is called in lists of processes: who ends this program by its name does not
/// mean the supervisor, which then has work to do.
const NAME: &std::ffi::CStr = c"server-watch";

/// Makes `command` start below a supervisor.
pub(crate) fn install(command: &mut Command) {
    let parent = std::process::id().cast_signed();
    let arguments = arguments_of_this_process();
    // SAFETY: `begin` makes system calls only, all async-signal-safe, and touches no memory but its
    // own stack and its copy of the arguments, which nothing reads after the fork.
    unsafe {
        command.pre_exec(move || begin(parent, arguments));
    }
}

/// Where the command line of this process is in its memory, as an address and a length.
#[derive(Clone, Copy)]
struct Arguments {
    address: usize,
    length: usize,
}

/// From fields 48 and 49 of `/proc/self/stat` (proc(5)); empty where they cannot be read.
fn arguments_of_this_process() -> Arguments {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name is in parentheses, and may hold any character; after it comes field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields
        .split_ascii_whitespace()
        .skip(45)
        .map(|field| field.parse().unwrap_or(0));
    let (start, end): (usize, usize) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    Arguments {
        address: start,
        length: if start > 0 {
            end.saturating_sub(start)
        } else {
            0
        },
    }
}

/// Called in the new process: returns in its child, which becomes the command, and stays in the
/// supervisor until all has ended.
fn begin(parent: libc::pid_t, arguments: Arguments) -> io::Result<()> {
    // SAFETY: plain system calls with integers and local variables.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        // Signals to the group, such as Ctrl-C, are for the command. The supervisor waits for those
        // that concern it.
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        if libc::prctl(libc::PR_SET_PDEATHSIG, KILL_ALL, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0
        {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the first of the lines above.
        if libc::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let supervisor = libc::getpid();
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // Should the supervisor be killed, at least the command goes with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                if libc::getppid() != supervisor {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                // By these the command is stopped, also where this process was started with them ignored.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGTERM, libc::SIG_DFL);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
                Ok(())
            }
            command => {
                rename(arguments);
                supervise(command)
            }
        }
    }
}

/// Shows this process under [`NAME`].
///
/// # Safety
/// As [`supervise`]; `arguments` is where the kernel has put them.
unsafe fn rename(arguments: Arguments) {
    // SAFETY: the arguments are in the writable stack of this process, a copy of its own, and
    // nothing in it reads them any more.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let place = std::ptr::with_exposed_provenance_mut::<u8>(arguments.address);
        let name = NAME.to_bytes();
        for at in 0..arguments.length {
            let byte = if at < name.len() && name.len() < arguments.length {
                name[at]
            } else {
                0
            };
            place.add(at).write_volatile(byte);
        }
    }
}

/// Waits until `command` ends or all is to be killed, and ends as `command` did.
///
/// # Safety
/// Only in the process that [`begin`] has made, with all signals blocked.
unsafe fn supervise(command: libc::pid_t) -> ! {
    // SAFETY: plain system calls with integers and local variables.
    unsafe {
        close_files();
        let mut awaited: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut awaited);
        libc::sigaddset(&raw mut awaited, libc::SIGCHLD);
        libc::sigaddset(&raw mut awaited, KILL_ALL);
        let mut status = None;
        while status.is_none() {
            let mut signal = 0;
            libc::sigwait(&raw const awaited, &raw mut signal);
            if signal == KILL_ALL {
                break;
            }
            // Several children may have ended with one signal.
            loop {
                let mut ended = 0;
                match libc::waitpid(-1, &raw mut ended, libc::WNOHANG) {
                    0 | -1 => break,
                    pid if pid == command => status = Some(ended),
                    _ => {}
                }
            }
        }
        let mut all_known = true;
        loop {
            if status.is_none() {
                libc::kill(command, libc::SIGKILL);
            }
            if all_known && !kill_children() {
                all_known = false;
                kill_group();
            }
            let whom = if all_known { -1 } else { command };
            let mut ended = 0;
            match libc::waitpid(whom, &raw mut ended, 0) {
                -1 => break,
                pid if pid == command => status = Some(ended),
                _ => {}
            }
        }
        end_as(status.unwrap_or(libc::SIGKILL))
    }
}

/// Kills all children; those that they leave behind become ours. False where the kernel does not
/// list them (it was built without `CONFIG_PROC_CHILDREN`).
///
/// # Safety
/// As [`supervise`].
unsafe fn kill_children() -> bool {
    // SAFETY: as in `supervise`; the buffer is local, and its size is passed along.
    unsafe {
        let path = c"/proc/thread-self/children".as_ptr();
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return false;
        }
        let mut buffer = [0_u8; 4096];
        let mut child: libc::pid_t = 0;
        loop {
            let length = libc::read(file, buffer.as_mut_ptr().cast(), buffer.len());
            let Ok(length @ 1..) = usize::try_from(length) else {
                break;
            };
            for &byte in buffer.iter().take(length) {
                if byte.is_ascii_digit() {
                    child = child.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
                } else if child > 0 {
                    libc::kill(child, libc::SIGKILL);
                    child = 0;
                }
            }
        }
        libc::close(file);
        true
    }
}

/// Kills the group of the command, which is that of the supervisor, so that it first leaves it for
/// that of its parent.
///
/// # Safety
/// As [`supervise`].
unsafe fn kill_group() {
    // SAFETY: plain system calls with integers.
    unsafe {
        let group = libc::getpid();
        if libc::setpgid(0, libc::getpgid(libc::getppid())) == 0 {
            libc::killpg(group, libc::SIGKILL);
        }
    }
}

/// Closes all files: the pipes of the command must end with the command, and what else this process
/// had open is none of ours.
///
/// # Safety
/// As [`supervise`].
unsafe fn close_files() {
    // SAFETY: closing numbers that nobody else uses in this process.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) != 0 {
            // Before Linux 5.9.
            for file in 0..65_536 {
                libc::close(file);
            }
        }
    }
}

/// Ends this process in the way that `status`, from `waitpid`, tells of another one.
///
/// # Safety
/// As [`supervise`].
unsafe fn end_as(status: libc::c_int) -> ! {
    // SAFETY: plain system calls with integers and local variables.
    unsafe {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // No second core file.
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            let mut only: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut only);
            libc::sigaddset(&raw mut only, signal);
            libc::kill(libc::getpid(), signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const only, std::ptr::null_mut());
            libc::_exit(128 + signal);
        }
        libc::_exit(libc::WEXITSTATUS(status));
    }
}
