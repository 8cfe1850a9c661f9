//! When the kernel passed what was written to a TCP socket on to the network device.
//!
//! The kernel puts a stamp into the socket's error queue for each write, once the segment with its
//! last byte has left. Reading the queue is a call of its own; one call fetches many.

#![expect(
    unsafe_code,
    reason = "the error queue has no safe form in the standard library"
)]

use std::io;
use std::os::fd::BorrowedFd;

use inferometer_core::Nanos;

/// The departure of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendStamp {
    /// Position of the write's last byte, counted from 0 at [`enable`] in bytes of the connection;
    /// it wraps.
    pub last_byte: u32,
    /// Wall-clock time at which the segment with that byte went to the device.
    pub wall: Nanos,
}

/// Asks the kernel to stamp what is written to this connected TCP socket. True if it will.
///
/// Nothing may have been written yet, or positions are off by what was under way. From then on a
/// waiting stamp is an error condition to `poll` and `epoll`, though not to `read` and `write`.
pub fn enable(socket: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        linux::enable(socket)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}

/// Appends the stamps that are there to `stamps`, in the order of departure; never waits.
///
/// # Errors
///
/// The error queue of the socket cannot be read.
pub fn drain(socket: BorrowedFd<'_>, stamps: &mut Vec<SendStamp>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        linux::drain(socket, stamps)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, stamps);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use inferometer_core::Nanos;

    use super::SendStamp;

    /// Stamps that one call fetches.
    const BATCH: usize = 32;
    /// `SO_EE_ORIGIN_TIMESTAMPING` of `linux/errqueue.h`.
    const FROM_STAMPING: u8 = 4;

    pub(super) fn enable(socket: BorrowedFd<'_>) -> bool {
        let wanted = libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        // SAFETY: the descriptor is open for the duration of the call, and the option value is a
        // live integer of the stated size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPING,
                (&raw const wanted).cast(),
                size_of_val(&wanted) as libc::socklen_t,
            )
        };
        result == 0
    }

    /// Room for the control messages of one stamp, aligned as the kernel wants it.
    #[derive(Clone, Copy)]
    #[repr(align(8))]
    struct Control([u8; 192]);

    pub(super) fn drain(socket: BorrowedFd<'_>, stamps: &mut Vec<SendStamp>) -> io::Result<()> {
        let mut controls = [Control([0; 192]); BATCH];
        loop {
            // SAFETY: mmsghdr is plain old data, for which all zeroes is a valid value.
            let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
            for (message, control) in messages.iter_mut().zip(&mut controls) {
                message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = control.0.len() as _;
            }
            // SAFETY: each of the BATCH messages has a control buffer of the stated size and no
            // data; both outlive the call, and without a time limit the last pointer may be null.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    BATCH as libc::c_uint,
                    libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if received < 0 {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::WouldBlock {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            let received = received as usize;
            stamps.extend(
                messages[..received]
                    .iter()
                    .filter_map(|message| stamp_of(&message.msg_hdr)),
            );
            if received < BATCH {
                return Ok(());
            }
        }
    }

    fn stamp_of(message: &libc::msghdr) -> Option<SendStamp> {
        let (mut wall, mut last_byte) = (None, None);
        // SAFETY: the kernel has filled the control buffer and its length; CMSG_FIRSTHDR and
        // CMSG_NXTHDR stay within that length. The buffer lives as long as `message` is borrowed.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
        while !header.is_null() {
            // SAFETY: `header` is non-null and therefore points at a whole cmsghdr inside the
            // control buffer.
            let found = unsafe { *header };
            match (found.cmsg_level, found.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                    // SAFETY: a message of this type carries three timespecs, the first of which is
                    // the kernel's own; it may be unaligned.
                    let time = unsafe {
                        libc::CMSG_DATA(header)
                            .cast::<libc::timespec>()
                            .read_unaligned()
                    };
                    wall = Some(Nanos(
                        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
                    ));
                }
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                    // SAFETY: a message of this type begins with a sock_extended_err; it may be
                    // unaligned.
                    let error = unsafe {
                        libc::CMSG_DATA(header)
                            .cast::<libc::sock_extended_err>()
                            .read_unaligned()
                    };
                    if error.ee_origin == FROM_STAMPING {
                        last_byte = Some(error.ee_data);
                    }
                }
                _ => {}
            }
            // SAFETY: as for CMSG_FIRSTHDR.
            header = unsafe { libc::CMSG_NXTHDR(message, header) };
        }
        Some(SendStamp {
            last_byte: last_byte?,
            wall: wall?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;
    use crate::clock::{self, WallConverter};

    #[test]
    fn every_write_on_loopback_is_stamped_at_its_last_byte() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.set_nodelay(true).unwrap();
            let stamped = enable(server.as_fd());
            assert_eq!(stamped, cfg!(target_os = "linux"));
            if !stamped {
                continue;
            }
            let before = clock::now();
            let mut stamps = Vec::new();
            for write in 1..=70 {
                server.write_all(b"token").unwrap();
                // What has arrived has left, and its stamp is there.
                client.read_exact(&mut [0; 5]).unwrap();
                if write % 35 == 0 {
                    drain(server.as_fd(), &mut stamps).unwrap();
                }
            }
            let after = clock::now();
            let ends: Vec<u32> = stamps.iter().map(|stamp| stamp.last_byte).collect();
            assert_eq!(
                ends,
                (1..=70).map(|write| write * 5 - 1).collect::<Vec<_>>()
            );
            let converter = WallConverter::new();
            for stamp in stamps {
                let at = converter.to_monotonic(stamp.wall);
                assert!(
                    before.0 < at.0 + 2_000_000 && at.0 < after.0 + 2_000_000,
                    "{before:?} {at:?}"
                );
            }
        }
    }
}
