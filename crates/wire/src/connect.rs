//! Opens connections, and times each step.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use inferometer_core::Nanos;
use inferometer_os::{PreciseTimer, clock};
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::ConnectStep;
use crate::outgoing::Outgoing;
use crate::probe::Probe;
use crate::socket::{Shared, Socket, Watcher};
use crate::target::{Scheme, Target};
use crate::wire::Wire;

/// Longest answer of a proxy to `CONNECT`, in bytes, so that it cannot fill the memory.
const TUNNEL_ANSWER: usize = 16 << 10;

/// A connection as bytes, plain or encrypted.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TokioIo<TlsStream<Socket>>>, Rc<Probe>),
}

/// How long opening took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spans {
    pub(crate) connect: Nanos,
    pub(crate) tls: Option<Nanos>,
}

/// A stream that is ready for HTTP.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) probe: Rc<Probe>,
    pub(crate) watcher: Watcher,
    pub(crate) spans: Spans,
}

/// The sending half of an HTTP/1.1 connection, and the connection itself, which its user must poll.
pub(crate) type Http1 = (
    http1::SendRequest<Full<Bytes>>,
    http1::Connection<Stream, Full<Bytes>>,
);

/// Why a connection could not be opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenError {
    pub(crate) step: ConnectStep,
    pub(crate) reason: String,
}

impl OpenError {
    fn new(step: ConnectStep, reason: &(impl ToString + ?Sized)) -> Self {
        Self {
            step,
            reason: reason.to_string(),
        }
    }

    /// The time limit `limit` has expired before `target` was reached.
    pub(crate) fn late(limit: Nanos, target: &Target) -> Self {
        let reason = format!("no connection within {} s", limit.as_secs_f64());
        Self::new(ConnectStep::Reach, &reason).through(target)
    }

    /// The server speaks the other of HTTP and HTTPS.
    pub(crate) fn scheme(target: &Target) -> Self {
        let reason = match target.url.scheme {
            Scheme::Https => "the server speaks plain HTTP at this port, not TLS (https://)",
            _ => "the server speaks TLS (https://) at this port, not plain HTTP",
        };
        Self::new(ConnectStep::Scheme, reason)
    }

    /// Names the proxy where it is the proxy that was not reached: the server was not even asked.
    fn through(self, target: &Target) -> Self {
        match &target.proxy {
            Some(proxy) if self.step == ConnectStep::Reach => Self::new(
                ConnectStep::Proxy,
                &format!("proxy {}: {}", proxy.display, self.reason),
            ),
            _ => self,
        }
    }
}

/// Opens a stream to `target`: TCP or Unix connect, tunnel and TLS where needed.
pub(crate) async fn open(
    wire: &Wire,
    target: &Target,
    source: Option<IpAddr>,
    shared: &Rc<Shared>,
    http2: bool,
) -> Result<Opened, OpenError> {
    let start = clock::now();
    let mut socket = connect(target, source, shared)
        .await
        .map_err(|error| error.through(target))?;
    let probe = socket.probe();
    let watcher = socket.watcher();
    if target.proxy.is_some() && target.url.scheme == Scheme::Https {
        tunnel(&mut socket, target)
            .await
            .map_err(|reason| OpenError::new(ConnectStep::Proxy, &reason))?;
    }
    let connected = clock::now();
    let mut spans = Spans {
        connect: connected.since(start),
        tls: None,
    };
    let stream = match (&wire.tls, target.url.scheme) {
        (Some(config), Scheme::Https) => {
            let name = ServerName::try_from(target.url.host.clone())
                .map_err(|error| OpenError::new(ConnectStep::Tls, &error))?;
            let connector = if http2 == wire.settings.http2 {
                TlsConnector::from(std::sync::Arc::clone(config))
            } else {
                let mut config = (**config).clone();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                TlsConnector::from(std::sync::Arc::new(config))
            };
            let stream = connector
                .connect(name, socket)
                .await
                .map_err(|error| tls_error(&error))?;
            if http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(OpenError::new(ConnectStep::Http2, NO_HTTP2));
            }
            spans.tls = Some(clock::now().since(connected));
            probe.begin_encryption();
            Stream::Tls(Box::new(TokioIo::new(stream)), Rc::clone(&probe))
        }
        _ => Stream::Plain(socket),
    };
    Ok(Opened {
        stream,
        probe,
        watcher,
        spans,
    })
}

/// The message for a server without HTTP/2.
const NO_HTTP2: &str = "the server does not speak HTTP/2; leave out --http2";

/// A connection that is lost during the TLS handshake counts as not reached, as behind a balancer
/// whose server is not up yet; what TLS itself refuses is an error of TLS.
fn tls_error(error: &io::Error) -> OpenError {
    let refused = error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    let step = if refused {
        ConnectStep::Tls
    } else {
        ConnectStep::Reach
    };
    OpenError::new(step, &format!("TLS: {error}"))
}

/// Starts HTTP/1.1 on a stream.
pub(crate) async fn http1(wire: &Wire, stream: Stream) -> Result<Http1, OpenError> {
    let limits = &wire.settings.limits;
    http1::Builder::new()
        .max_headers(limits.headers.max(1))
        .max_header_size(limits.header)
        .max_buf_size(limits.header.max(READ_AHEAD))
        .handshake(stream)
        .await
        .map_err(|error| OpenError::new(ConnectStep::Reach, &error))
}

/// Bytes that hyper takes from the socket at once: as many as one read of the socket gives.
const READ_AHEAD: usize = 64 << 10;
/// Flow-control windows of HTTP/2, as large as they can be, so that they never hold a token back.
const WINDOW: u32 = (1 << 30) - 1;

/// The sending half of an HTTP/2 connection, and the number of streams that the server allows at
/// once.
pub(crate) type Http2 = (http2::SendRequest<Outgoing>, Rc<Cell<usize>>);

/// Starts HTTP/2 on a stream, and waits for the server's settings, because they limit the number of
/// streams. The connection runs as a task of its own.
pub(crate) async fn http2(
    wire: &Wire,
    stream: Stream,
    probe: &Rc<Probe>,
) -> Result<Http2, OpenError> {
    let limits = &wire.settings.limits;
    let (sender, connection) = http2::Builder::new(LocalTasks)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .handshake(stream)
        .await
        .map_err(|error| OpenError::new(ConnectStep::Reach, &error))?;
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let latest = Rc::clone(&allowed);
    let mut connection = Box::pin(connection);
    let greeted = Rc::new(Notify::new());
    let (probe, greeting) = (Rc::clone(probe), Rc::clone(&greeted));
    // What was read before is not HTTP/2 but a proxy's answer to `CONNECT`.
    probe.first.set(None);
    probe.share();
    tokio::task::spawn_local(poll_fn(move |context| {
        // Its error reaches the requests on it.
        let ended = connection.as_mut().poll(context).map(drop);
        latest.set(connection.current_max_send_streams());
        // The settings are the first thing that a server sends; they are read by another task.
        if ended.is_ready() || probe.has_content(context) {
            greeting.notify_one();
        }
        ended
    }));
    greeted.notified().await;
    if sender.is_closed() {
        return Err(OpenError::new(ConnectStep::Http2, NO_HTTP2));
    }
    Ok((sender, allowed))
}

/// Runs hyper's HTTP/2 tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalTasks;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

pub(crate) async fn connect(
    target: &Target,
    source: Option<IpAddr>,
    shared: &Rc<Shared>,
) -> Result<Socket, OpenError> {
    if target.url.scheme == Scheme::Unix {
        return connect_unix(&target.url.socket_path, shared)
            .await
            .map_err(|error| OpenError::new(ConnectStep::Reach, &error));
    }
    let mut last = OpenError::new(
        ConnectStep::SourceAddress,
        &match source {
            Some(source) => {
                format!("the host has no address of the same family as --source-ip {source}")
            }
            None => "the host has no address".to_owned(),
        },
    );
    for &address in &target.addresses {
        if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
            continue;
        }
        match connect_tcp(address, source, shared).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_unix(path: &Path, shared: &Rc<Shared>) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    loop {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        match Socket::connect(socket, &address, Rc::clone(shared)).await {
            // The server's queue is full, and unlike with TCP the kernel does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                PreciseTimer::new()?
                    .sleep_until(clock::now() + Nanos::from_millis(1))
                    .await?;
            }
            result => return result,
        }
    }
}

async fn connect_tcp(
    address: SocketAddr,
    source: Option<IpAddr>,
    shared: &Rc<Shared>,
) -> Result<Socket, OpenError> {
    let reach = |error: io::Error| OpenError::new(ConnectStep::Reach, &error);
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(reach)?;
    socket.set_tcp_nodelay(true).map_err(reach)?;
    if let Some(source) = source {
        let unusable = |error| {
            OpenError::new(
                ConnectStep::SourceAddress,
                &format!("--source-ip {source}: {error}"),
            )
        };
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .map_err(unusable)?;
    }
    Socket::connect(socket, &address.into(), Rc::clone(shared))
        .await
        .map_err(reach)
}

/// Asks the proxy for a tunnel to the target.
async fn tunnel(socket: &mut Socket, target: &Target) -> Result<(), String> {
    let proxy = target
        .proxy
        .as_ref()
        .map(|proxy| proxy.display.as_str())
        .unwrap_or_default();
    let fail = |reason: &str| format!("proxy {proxy}: {reason}");
    let address = target.url.host_and_port();
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
    if let Some(authorization) = target
        .proxy
        .as_ref()
        .and_then(|proxy| proxy.authorization.as_ref())
    {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    socket
        .write_all(&request)
        .await
        .map_err(|error| fail(&error.to_string()))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Byte by byte, because what follows the answer belongs to TLS. It is short, and not
        // measured.
        let byte = socket
            .read_u8()
            .await
            .map_err(|error| fail(&error.to_string()))?;
        answer.push(byte);
        if answer.len() > TUNNEL_ANSWER {
            return Err(fail("answer too long"));
        }
    }
    let line = String::from_utf8_lossy(
        answer
            .split(|&byte| byte == b'\r')
            .next()
            .unwrap_or_default(),
    )
    .into_owned();
    let status = line.split(' ').nth(1).unwrap_or_default();
    if line.starts_with("HTTP/1.") && status.starts_with('2') {
        return Ok(());
    }
    Err(fail(&format!(
        "refused the connection to {address}: {}",
        crate::reply::printable(&line)
    )))
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => hyper::rt::Read::poll_read(Pin::new(socket), context, buffer),
            Self::Tls(stream, probe) => {
                let room = buffer.remaining();
                let content = ready!(Pin::new(stream.inner_mut()).poll_fill_buf(context))?;
                let content = &content[..content.len().min(room)];
                let taken = content.len();
                buffer.put_slice(content);
                if taken > 0 {
                    probe.note_content();
                }
                Pin::new(stream.inner_mut()).consume(taken);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => hyper::rt::Write::poll_write(Pin::new(socket), context, bytes),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => hyper::rt::Write::poll_flush(Pin::new(socket), context),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => hyper::rt::Write::poll_shutdown(Pin::new(socket), context),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // rustls copies what it encrypts: only a plain socket gains from several parts in one call.
        matches!(self, Self::Plain(_))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => {
                hyper::rt::Write::poll_write_vectored(Pin::new(socket), context, parts)
            }
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_write_vectored(context, parts),
        }
    }
}
