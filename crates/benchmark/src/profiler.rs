//! Requests to the server around a run: its profiler, its prefix cache.

use std::sync::Arc;

use http::Method;
use inferometer_core::Nanos;
use inferometer_engine::StopHandle;
use inferometer_wire::{SideClient, Wire};
use serde_json::Value;

use crate::error::{Error, OrError};
use crate::observer::Observer;

/// How long the profiler may take to start or stop. Chosen, not measured.
const PROFILER_TIMEOUT: Nanos = Nanos::from_millis(600_000);

/// Asks the server to profile from here on. A server without a profiler does not end the run.
pub(crate) fn start(
    wire: &Arc<Wire>,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<(), Error> {
    observer.line("Starting profiler...");
    post(wire, "/start_profile", "Profiler started", stop, observer)
}

/// Stops the profiler that [`start`] started.
pub(crate) fn stop(wire: &Arc<Wire>, observer: &dyn Observer) -> Result<(), Error> {
    observer.line("Stopping profiler...");
    let stop = StopHandle::default();
    post(wire, "/stop_profile", "Profiler stopped", &stop, observer)
}

fn post(
    wire: &Arc<Wire>,
    path: &str,
    done: &str,
    stop: &StopHandle,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let mut settings = wire.settings().clone();
    // A profiler may write for minutes before it answers.
    settings.timeouts.side = PROFILER_TIMEOUT;
    let side = SideClient::new(&Wire::new(settings).or_failure()?).or_failure()?;
    let Some(reply) = side.ask_unless(stop.raised(), Method::POST, path) else {
        return Ok(());
    };
    match reply {
        Ok(reply) if reply.status == 200 => observer.line(done),
        Ok(reply) => observer.warning(&format!(
            "the server does not support profiling: {path} returns status {}; start vLLM with \
             VLLM_TORCH_PROFILER_DIR or --profiler-config",
            reply.status
        )),
        Err(error) => observer.warning(&format!("the server cannot be profiled: {error}")),
    }
    Ok(())
}

/// Resets the server's prefix cache; the answer's content is checked as well as its status.
pub(crate) fn reset_prefix_cache(wire: &Arc<Wire>) -> Result<(), Error> {
    const PATH: &str = "/reset_prefix_cache";
    let hint = "vLLM has this only when started with VLLM_SERVER_DEV_MODE=1";
    let reply = SideClient::new(wire)
        .or_failure()?
        .ask(Method::POST, PATH, None)
        .or_usage()
        .map_err(|error| error.context("--reset-prefix-cache: the server did not answer"))?;
    if reply.status != 200 {
        return Err(Error::usage(format!(
            "--reset-prefix-cache: {PATH} returns status {}; {hint}",
            reply.status
        )));
    }
    let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
    match answer.as_ref().and_then(|answer| answer.get("success")) {
        Some(Value::Bool(false)) => Err(Error::usage(
            "--reset-prefix-cache: the server reports that it did not reset its cache (success: false); requests \
             may still be running",
        )),
        _ => Ok(()),
    }
}
