//! Errands at the server around a run: its profiler, its prefix cache.

use std::sync::Arc;

use http::Method;
use inferometer_core::Nanos;
use inferometer_wire::{SideClient, Wire};
use serde_json::Value;

use crate::exit::{Failure, OrFail};
use crate::output::Output;

/// How long the profiler may take to begin or end.
const PATIENCE: Nanos = Nanos::from_millis(600_000);

/// Asks the server to profile from here on. A server without a profiler does not end the run.
pub(crate) fn start(wire: &Arc<Wire>, output: &Output) -> Result<(), Failure> {
    output.say("Starting profiler...");
    post(wire, "/start_profile", "Profiler started", output)
}

/// Ends what [`start`] began.
pub(crate) fn stop(wire: &Arc<Wire>, output: &Output) -> Result<(), Failure> {
    output.say("Stopping profiler...");
    post(wire, "/stop_profile", "Profiler stopped", output)
}

fn post(wire: &Arc<Wire>, path: &str, done: &str, output: &Output) -> Result<(), Failure> {
    let mut settings = wire.settings().clone();
    // A profiler may write for minutes before it answers.
    settings.timeouts.side = PATIENCE;
    match SideClient::new(&Wire::new(settings).or_run()?).or_run()?.ask(Method::POST, path, None) {
        Ok(reply) if reply.status == 200 => output.say(done),
        Ok(reply) => output.warn(&format!(
            "the server does not profile: {path} answers with status {}; vLLM has to be started with \
             VLLM_TORCH_PROFILER_DIR or --profiler-config",
            reply.status
        )),
        Err(error) => output.warn(&format!("the server does not profile: {error}")),
    }
    Ok(())
}

/// Empties the server's prefix cache; what the answer says counts, not only its status.
pub(crate) fn reset_prefix_cache(wire: &Arc<Wire>) -> Result<(), Failure> {
    const PATH: &str = "/reset_prefix_cache";
    let hint = "vLLM has this only when started with VLLM_SERVER_DEV_MODE=1";
    let reply = SideClient::new(wire)
        .or_run()?
        .ask(Method::POST, PATH, None)
        .map_err(|error| {
            Failure::Usage(
                anyhow::Error::new(error)
                    .context("--reset-prefix-cache: the server did not answer"),
            )
        })?;
    if reply.status != 200 {
        return Err(Failure::usage(format!(
            "--reset-prefix-cache: {PATH} answers with status {}; {hint}",
            reply.status
        )));
    }
    let told: Option<Value> = serde_json::from_slice(&reply.body).ok();
    match told.as_ref().and_then(|told| told.get("success")) {
        Some(Value::Bool(false)) => Err(Failure::usage(
            "--reset-prefix-cache: the server says that it did not empty its cache (success: false); requests \
             may still be running",
        )),
        _ => Ok(()),
    }
}
