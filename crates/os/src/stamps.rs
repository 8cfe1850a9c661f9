//! Reading from a socket together with the kernel's receive time.

#![expect(
    unsafe_code,
    reason = "recvmsg with control messages has no safe form in the standard library"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use inferometer_core::Nanos;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes read; 0 means that the peer has closed.
    pub len: usize,
    /// Wall-clock time at which the kernel received the last segment touched by this read.
    pub kernel_wall: Option<Nanos>,
}

/// Asks the kernel to stamp what arrives on this socket. True if it will.
///
/// `SO_TIMESTAMPNS` works on TCP sockets, on loopback and without privileges. When no other socket
/// of the host wants stamps, the kernel patches itself to make them, which takes some milliseconds:
/// reads until then come without a stamp. [`warm_up`] does that beforehand.
pub fn enable(socket: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open for the duration of the call, and the option value is a
        // live c_int of the stated size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        result == 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}

/// Makes the kernel begin to stamp what arrives, before the first socket that matters is opened, and
/// waits until it does: some milliseconds, or nothing when it does already.
///
/// Keep the returned socket as long as stamps are wanted, else the kernel may stop again. `None`
/// where the platform has none.
pub fn warm_up() -> Option<std::net::UdpSocket> {
    use std::os::fd::AsFd;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).ok()?;
    if !enable(socket.as_fd()) {
        return None;
    }
    let address = socket.local_addr().ok()?;
    socket.set_read_timeout(Some(WARM_UP_PAUSE)).ok()?;
    for _ in 0..WARM_UP_TRIES {
        // A datagram to ourselves shows whether what arrives is stamped.
        let mut byte = [0];
        if socket.send_to(&byte, address).is_err() {
            break;
        }
        if recv_into(socket.as_fd(), &mut byte).is_ok_and(|read| read.kernel_wall.is_some()) {
            break;
        }
        std::thread::sleep(WARM_UP_PAUSE);
    }
    Some(socket)
}

/// Pause between two looks at whether stamps have come.
const WARM_UP_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
/// After 100 ms the run begins without them; its events are then marked so.
const WARM_UP_TRIES: usize = 100;

/// Room for one time stamp control message, aligned as the kernel wants it.
#[repr(align(8))]
struct Control([u8; 64]);

/// Reads what is there into `buffer`, without blocking if the socket is non-blocking.
///
/// On success the first [`Read::len`] bytes of `buffer` are initialised.
///
/// # Errors
///
/// `recvmsg` failed; `WouldBlock` where nothing is there on a non-blocking socket.
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut [MaybeUninit<u8>]) -> io::Result<Read> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain old data, for which all zeroes is a valid value on every platform.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points at one iovec over `buffer`, which is writable for its whole length,
    // and at a control buffer of the stated size; both outlive the call. The kernel writes only
    // within them.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Read {
        len: received as usize,
        kernel_wall: stamp_of(&message),
    })
}

/// Like [`recv`], into memory that is initialised already, so that the caller can read it without
/// `unsafe` code of its own.
///
/// # Errors
///
/// As [`recv`].
pub fn recv_into(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Read> {
    let len = buffer.len();
    // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and `recv` only ever writes initialised
    // bytes, so the buffer stays initialised. The new slice takes the place of `buffer`, whose
    // borrow it ends.
    let buffer = unsafe {
        std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<MaybeUninit<u8>>(), len)
    };
    recv(socket, buffer)
}

/// Like [`recv`], into the room that `buffer` has behind its content; what is read becomes content.
/// A buffer without room gets some, for a read of nothing would look like the end.
///
/// # Errors
///
/// As [`recv`].
pub fn recv_append(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<Read> {
    if buffer.len() == buffer.capacity() {
        buffer.reserve(4096);
    }
    let read = recv(socket, buffer.spare_capacity_mut())?;
    // SAFETY: `recv` has initialised the first `len` bytes of the room, which is at least so large.
    unsafe { buffer.set_len(buffer.len() + read.len) };
    Ok(read)
}

#[cfg(target_os = "linux")]
fn stamp_of(message: &libc::msghdr) -> Option<Nanos> {
    // SAFETY: the kernel has filled the control buffer and its length; CMSG_FIRSTHDR and
    // CMSG_NXTHDR stay within that length. The buffer lives as long as `message` is borrowed.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: `header` is non-null and therefore points at a whole cmsghdr inside the control
        // buffer.
        let found = unsafe { *header };
        if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_TIMESTAMPNS {
            // SAFETY: a message of this type carries one timespec; it may be unaligned.
            let time = unsafe {
                libc::CMSG_DATA(header)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            };
            return Some(Nanos(
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
            ));
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

#[cfg(not(target_os = "linux"))]
fn stamp_of(_message: &libc::msghdr) -> Option<Nanos> {
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;
    use crate::clock::WallConverter;

    #[test]
    fn reads_carry_the_kernels_receive_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let stamped = enable(client.as_fd());
        let mut buffer = [MaybeUninit::uninit(); 16];
        let mut stamps = 0;
        for _ in 0..100_000 {
            if stamps == 3 {
                break;
            }
            let before = crate::clock::now();
            server.write_all(b"token").unwrap();
            let read = recv(client.as_fd(), &mut buffer).unwrap();
            let after = crate::clock::now();
            assert_eq!(read.len, 5);
            if let Some(wall) = read.kernel_wall {
                let at = WallConverter::new().to_monotonic(wall);
                assert!(
                    before.0 < at.0 + 2_000_000 && at.0 < after.0 + 2_000_000,
                    "{before:?} {at:?} {after:?}"
                );
                stamps += 1;
            }
        }
        assert_eq!(stamps, if stamped { 3 } else { 0 });
        drop(server);
        assert_eq!(recv(client.as_fd(), &mut buffer).unwrap().len, 0);
    }

    #[test]
    fn reads_are_appended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"first").unwrap();
        let mut buffer = Vec::new();
        while buffer.len() < 5 {
            recv_append(client.as_fd(), &mut buffer).unwrap();
        }
        buffer.shrink_to_fit();
        server.write_all(b" and second").unwrap();
        drop(server);
        while recv_append(client.as_fd(), &mut buffer).unwrap().len > 0 {}
        assert_eq!(buffer, b"first and second");
    }
}
