//! The HTTP server on the real clock.
//!
//! It is our own because the truth log needs the instant at which each event is handed to the
//! kernel, and the faults need every byte and every close of a connection in hand: an HTTP library
//! buffers, frames and writes when it sees fit.

mod connection;
mod engine_driver;
mod event_rate;
mod fault_bytes;
mod http;
mod pace;
mod pause;
mod scheduler;
mod socket;
mod stream;
mod ticket;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use inferometer_core::Nanos;
use socket2::Socket;
use tokio::sync::watch;

use crate::engine::Cluster;
use crate::settings::{SimError, SimSettings};
use crate::shared::Shared;
use crate::truth::{Lateness, TruthLog, TruthRecord};

/// Connections that may wait to be accepted: a burst of a client's whole concurrency. The kernel
/// caps it at net.core.somaxconn, which is 4096 on current Linux.
const BACKLOG: i32 = 4096;

/// A running simulator. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Starts a simulated server on threads of its own and returns once it listens.
///
/// # Errors
///
/// Settings that [`SimSettings::check`] refuses, an address that cannot be bound, and a truth file
/// that cannot be created.
pub fn start(settings: SimSettings) -> Result<Server, SimError> {
    settings.check()?;
    let truth =
        TruthLog::new(settings.truth_file.as_deref()).map_err(|source| SimError::TruthFile {
            path: settings.truth_file.clone().unwrap_or_default(),
            source,
        })?;
    let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
    let context_limit = context_limit(&settings)?;
    let (sockets, address) = bind(
        settings.address,
        settings.threads,
        settings.listen_after.is_zero(),
    )
    .map_err(|source| SimError::Listen {
        address: settings.address,
        source,
    })?;
    let shared = Arc::new(Shared::new(settings, truth, tls, context_limit)?);
    let (stop, stopped) = watch::channel(false);
    let mut server = Server {
        address,
        shared,
        stop,
        threads: Vec::new(),
    };
    for (number, socket) in sockets.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SimError::Thread)?;
        let (shared, stopped) = (Arc::clone(&server.shared), stopped.clone());
        let thread = std::thread::Builder::new()
            .name(format!("sim-{number}"))
            .spawn(move || {
                inferometer_os::thread::minimise_timer_slack();
                if let Some(first) = shared.settings.pin {
                    inferometer_os::thread::pin_to_cpu(first + number);
                }
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, run_thread(shared, number, socket, stopped));
            })
            .map_err(SimError::Thread)?;
        server.threads.push(thread);
    }
    Ok(server)
}

/// The longest prompt plus answer that both the server and the engine model take.
fn context_limit(settings: &SimSettings) -> Result<u32, SimError> {
    let Some(config) = &settings.engine else {
        return Ok(settings.max_model_len);
    };
    let cluster = Cluster::new(config.clone(), settings.seed)?;
    Ok(cluster.context_limit().min(settings.max_model_len))
}

/// One socket per thread on the same port; the kernel spreads connections over them. Until it
/// listens, a bound socket refuses connections.
fn bind(
    address: SocketAddr,
    threads: usize,
    listen: bool,
) -> std::io::Result<(Vec<Socket>, SocketAddr)> {
    if threads > 1 && address.port() != 0 {
        // Sharing a port among our own threads must not mean sharing it with another process.
        drop(TcpListener::bind(address)?);
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(threads);
    for _ in 0..threads {
        let socket = Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )?;
        socket.set_reuse_address(true)?;
        if threads > 1 {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        send_at_once(&socket);
        // Accepted connections inherit it.
        inferometer_os::stamps::enable(socket.as_fd());
        socket.bind(&address.into())?;
        if listen {
            socket.listen(BACKLOG)?;
        }
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address = bound;
        }
        sockets.push(socket);
    }
    // The sockets above hold the stamps on; this waits until the kernel makes them, so that the first
    // request has one.
    drop(inferometer_os::stamps::warm_up());
    Ok((sockets, address))
}

/// Takes a congestion control that does not pace: BBR, the default of some hosts, holds the
/// segments of fast streams back behind a timer, so that in flood mode events leave milliseconds
/// after they were written.
fn send_at_once(socket: &Socket) {
    // Accepted connections inherit it. Every Linux has Reno; where it may not be set, all works as
    // before.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_congestion(b"reno");
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

async fn run_thread(
    shared: Arc<Shared>,
    number: usize,
    socket: Socket,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(scheduler) = scheduler::Scheduler::new(Arc::clone(&shared), number) else {
        return;
    };
    let scheduler = Rc::new(scheduler);
    let work = async {
        let wait = shared.settings.listen_after;
        if !wait.is_zero() {
            pause::pause(wait.into()).await;
            if socket.listen(BACKLOG).is_err() {
                return;
            }
        }
        let Ok(listener) = tokio::net::TcpListener::from_std(socket.into()) else {
            return;
        };
        let emitter = tokio::task::spawn_local(Rc::clone(&scheduler).run());
        accept(&shared, &listener, &scheduler).await;
        emitter.abort();
    };
    tokio::select! {
        () = work => {}
        // An error means that the server has been dropped, which stops it as well.
        _ = stopped.wait_for(|&stop| stop) => {}
    }
    scheduler.stop();
}

async fn accept(
    shared: &Arc<Shared>,
    listener: &tokio::net::TcpListener,
    scheduler: &Rc<scheduler::Scheduler>,
) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let accepted = inferometer_os::clock::now();
                // Without it, the kernel would hold back small events until earlier ones are
                // acknowledged.
                let _ = socket.set_nodelay(true);
                let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
                let connection = connection::serve(
                    Arc::clone(shared),
                    Rc::clone(scheduler),
                    socket,
                    number,
                    accepted,
                );
                tokio::task::spawn_local(connection);
            }
            // Out of descriptors, or the peer was gone already: let others run, then try again.
            Err(_) => {
                pause::pause(Nanos::from_millis(5)).await;
            }
        }
    }
}

impl Server {
    /// The address that it listens on, with the port that was chosen.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Base URL for clients.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// The records of all requests that have ended, in order of their end: at least of those whose
    /// answers have been read to their end.
    pub fn truth(&self) -> Vec<TruthRecord> {
        self.shared.settle();
        self.shared.truth.since(0)
    }

    /// How far events were behind the moments when they were due.
    pub fn lateness(&self) -> Lateness {
        self.shared.lateness()
    }

    /// Forgets the records so far.
    pub fn reset_truth(&self) {
        self.shared.reset_truth();
    }

    /// Stops serving, closes all connections, and completes the truth file.
    ///
    /// # Errors
    ///
    /// The truth file cannot be completed, or a thread of the server panicked.
    pub fn stop(mut self) -> Result<(), SimError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), SimError> {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed its message already.
            let _ = thread.join();
        }
        self.shared
            .truth
            .close()
            .map_err(|source| SimError::TruthFile {
                path: self.shared.settings.truth_file.clone().unwrap_or_default(),
                source,
            })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            let _ = self.shut_down();
        }
    }
}
