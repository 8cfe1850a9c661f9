//! How to talk to an inference server: backends, server-sent events, connections, kernel time
//! stamps.
//!
//! [`Wire`] checks the settings of a run and is shared; each worker thread has its own [`Client`],
//! which turns a [`Prepared`] request into the facts of an `inferometer_core::Record`. Whatever a
//! server does, each exchange ends in exactly one outcome.
//!
//! Between the return of a read and the process's stamp there is no parsing, locking, logging or
//! allocation: see `socket.rs`. `docs/backends.md` lists what each backend measures.

mod answer;
pub mod backend;
mod body_file;
mod broken;
mod budget;
mod calls;
mod certificates;
mod client;
mod connect;
mod connection;
mod content;
mod deadline;
mod error;
mod exchange;
mod failures;
mod fetch;
mod json;
mod judge;
mod live;
mod multiplexed;
pub mod offline;
mod outgoing;
mod pages;
mod pool;
mod prepared;
mod probe;
mod progress;
mod proxy;
mod python_json;
pub mod reply;
mod resend;
mod settings;
mod side;
mod socket;
pub mod sse;
mod target;
mod template;
mod texts;
mod tls;
mod trust;
mod unknown_fields;
mod usage;
mod wire;

pub use backend::{Backend, BackendKind, Body, BodySettings};
pub use body_file::BodyFile;
pub use client::Client;
pub use error::{ConnectStep, WireError};
pub use fetch::SideReply;
pub use live::{Live, LiveCounts};
pub use prepared::Prepared;
pub use progress::Counting;
pub use reply::KeepText;
pub use settings::{
    Balance, ClientSettings, ConnectPolicy, Limits, ProxySettings, Timeouts, TlsSettings,
};
pub use side::{NoTokens, ServedModel, ServerFacts, SideClient};
pub use wire::Wire;
