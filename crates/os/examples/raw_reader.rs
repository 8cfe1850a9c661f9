//! The least that a client must do: reads streams with epoll and `recv`, and counts events.
//!
//! No time stamps, no HTTP, no JSON. What inferometer needs beyond this is its own cost;
//! `benches/client.sh` puts the two side by side.
//!
//! `raw_reader HOST:PORT STREAMS REQUESTS TOKENS` sends REQUESTS completions of TOKENS tokens over
//! STREAMS connections and prints one line of JSON.

#![expect(unsafe_code, reason = "epoll has no safe form in the standard library")]
#![expect(clippy::print_stdout, reason = "an example program")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use inferometer_os::clock;

struct Stream {
    socket: TcpStream,
    /// The last bytes seen, because the end mark may be cut.
    tail: Vec<u8>,
}

const END: &[u8] = b"\r\n0\r\n\r\n";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments[index].parse::<usize>().expect("a number");
    let (address, streams, requests, tokens) = (&arguments[0], number(1), number(2), number(3));
    let body = format!(
        "{{\"model\":\"sim\",\"prompt\":\"x\",\"max_tokens\":{tokens},\"ignore_eos\":true,\"stream\":true}}"
    );
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    let epoll = epoll();
    let mut open: Vec<Stream> = (0..streams.min(requests))
        .map(|index| {
            let socket = TcpStream::connect(address.as_str()).expect("a server");
            socket.set_nonblocking(true).expect("a socket");
            watch(&epoll, &socket, index as u64);
            Stream {
                socket,
                tail: Vec::new(),
            }
        })
        .collect();
    let (wall, cpu) = (clock::now(), clock::process_cpu());
    for stream in &mut open {
        stream
            .socket
            .write_all(request.as_bytes())
            .expect("room for a request");
    }
    let (mut sent, mut done, mut events, mut bytes) = (open.len(), 0, 0, 0);
    let mut buffer = vec![0; 64 << 10];
    while done < requests {
        for index in wait(&epoll) {
            let stream = &mut open[index as usize];
            while let Ok(read) = stream.socket.read(&mut buffer) {
                assert!(read > 0, "the server closed a stream");
                bytes += read;
                events += buffer[..read]
                    .windows(6)
                    .filter(|window| *window == b"data: ")
                    .count();
                stream
                    .tail
                    .extend_from_slice(&buffer[read.saturating_sub(END.len())..read]);
                let excess = stream.tail.len().saturating_sub(END.len());
                stream.tail.drain(..excess);
                if stream.tail == END {
                    done += 1;
                    stream.tail.clear();
                    if sent < requests {
                        sent += 1;
                        stream
                            .socket
                            .write_all(request.as_bytes())
                            .expect("room for a request");
                    }
                }
                if read < buffer.len() {
                    break;
                }
            }
        }
    }
    let (wall, cpu) = (
        clock::now().since(wall).as_secs_f64(),
        clock::process_cpu().since(cpu).as_secs_f64(),
    );
    println!(
        "{{\"events\":{events},\"bytes\":{bytes},\"seconds\":{wall:.3},\"events_per_s\":{:.0},\
         \"cpu_s_per_million\":{:.3}}}",
        events as f64 / wall,
        cpu / events as f64 * 1e6
    );
}

fn epoll() -> OwnedFd {
    // SAFETY: the call takes no pointers, and the descriptor it returns is ours alone.
    unsafe {
        let raw = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        assert!(raw >= 0, "no epoll");
        OwnedFd::from_raw_fd(raw)
    }
}

fn watch(epoll: &OwnedFd, socket: &TcpStream, data: u64) {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: data,
    };
    // SAFETY: both descriptors are open, and `event` is a valid epoll_event for the length of the
    // call.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            socket.as_raw_fd(),
            &raw mut event,
        )
    };
    assert_eq!(result, 0, "epoll refuses a socket");
}

fn wait(epoll: &OwnedFd) -> Vec<u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    // SAFETY: the kernel writes at most 256 entries into `events`, which has room for them.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 256, -1) };
    events[..usize::try_from(count).unwrap_or(0)]
        .iter()
        .map(|event| event.u64)
        .collect()
}
