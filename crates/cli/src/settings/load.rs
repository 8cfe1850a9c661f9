//! Settings of the load: how many requests, when, by which workers.

use std::time::Duration;

use inferometer_arrival::{ArrivalSettings, RampStrategy, Rate};
use inferometer_benchmark::Compat;
use inferometer_benchmark::settings::{Cancellation, LoadSettings};

use crate::args::{LoadArgs, RampStrategy as RampFlag};
use crate::exit::{Failure, OrFail};

/// More threads than any processor has; the system refuses to start many more.
pub(crate) const MAX_THREADS: usize = 8_192;

/// Checks and resolves the flags. `has_clock` is true if a file sets the due instants of requests.
pub(super) fn resolve(
    args: &LoadArgs,
    compat: Compat,
    has_clock: bool,
) -> Result<LoadSettings, Failure> {
    let LoadArgs {
        num_prompts: _,  // workload_settings
        request_rate: _, // arrivals
        burstiness: _,   // arrivals
        max_concurrency,
        ramp_up_strategy: _,  // arrivals
        ramp_up_start_rps: _, // arrivals
        ramp_up_end_rps: _,   // arrivals
        self_timed: _,        // check_clock
        no_self_timed,
        num_warmups,
        ready_check_timeout_sec,
        seed: _,              // arrivals
        disable_tqdm: _,      // RunSettings::resolve
        ui: _,                // RunSettings::resolve
        request_id_prefix: _, // workload_settings
        probe_request_rate,
        profile,
        reset_prefix_cache,
        request_cancellation_rate,
        request_cancellation_delay,
        workers,
        pin,
    } = *args;
    check_clock(args, compat, has_clock)?;
    let arrivals = arrivals(args)?;
    let max_concurrency = max_concurrency.map(slots).transpose()?;
    let probe_rate = probe_rate(probe_request_rate)?;
    let cancellation = cancellation(request_cancellation_rate, request_cancellation_delay)?;
    if workers == Some(0) {
        return Err(Failure::usage("--workers 0: must be at least 1"));
    }
    if let Some(workers) = workers.filter(|workers| *workers > MAX_THREADS) {
        return Err(Failure::usage(format!(
            "--workers {workers}: expected at most {MAX_THREADS}"
        )));
    }
    Ok(LoadSettings {
        arrivals,
        max_concurrency,
        self_timed: has_clock && !no_self_timed,
        num_warmups,
        ready_check: Duration::from_secs(
            ready_check_timeout_sec.unwrap_or_else(|| compat.ready_check_seconds()),
        ),
        probe_rate,
        profile,
        reset_prefix_cache,
        cancellation,
        workers,
        pin,
    })
}

/// Refuses flags that contradict the clock of the requests.
fn check_clock(args: &LoadArgs, compat: Compat, has_clock: bool) -> Result<(), Failure> {
    let LoadArgs {
        request_rate,
        ramp_up_strategy,
        self_timed,
        no_self_timed,
        ..
    } = *args;
    if (self_timed || no_self_timed) && !has_clock {
        return Err(Failure::usage(format!(
            "{}: only --dataset-name timed_trace and trace, and workload files with due instants, set the times of \
             requests (--dataset-name trace reads BurstGPT, Azure and Mooncake files)",
            if self_timed {
                "--self-timed"
            } else {
                "--no-self-timed"
            }
        )));
    }
    if has_clock
        && !no_self_timed
        && (request_rate.is_finite() || ramp_up_strategy.is_some())
        && !compat.is_vllm()
    {
        return Err(Failure::usage(
            "--request-rate: the trace sets the times of requests; omit the rate, or add --no-self-timed",
        ));
    }
    Ok(())
}

fn arrivals(args: &LoadArgs) -> Result<ArrivalSettings, Failure> {
    let strategy = args.ramp_up_strategy.map(|strategy| match strategy {
        RampFlag::Linear => RampStrategy::Linear,
        RampFlag::Exponential => RampStrategy::Exponential,
    });
    let rate = Rate::from_flags(
        args.request_rate,
        strategy,
        args.ramp_up_start_rps.map(|rate| rate as f64),
        args.ramp_up_end_rps.map(|rate| rate as f64),
    )
    .or_usage()?;
    let arrivals = ArrivalSettings {
        rate,
        burstiness: args.burstiness,
        seed: args.seed,
    };
    arrivals.check().or_usage()?;
    Ok(arrivals)
}

/// A number of slots, at least 1.
fn slots(limit: i64) -> Result<usize, Failure> {
    match usize::try_from(limit) {
        Ok(slots) if slots > 0 => Ok(slots),
        _ => Err(Failure::usage(format!(
            "--max-concurrency {limit}: must be at least 1; omit it for no limit"
        ))),
    }
}

/// Probe requests per second; `None` for 0.
fn probe_rate(rate: f64) -> Result<Option<f64>, Failure> {
    if rate >= 0.0 && rate.is_finite() {
        Ok((rate > 0.0).then_some(rate))
    } else {
        Err(Failure::usage(format!(
            "--probe-request-rate {rate}: must be a number of requests per second, or 0 for none"
        )))
    }
}

fn cancellation(fraction: f64, delay: f64) -> Result<Option<Cancellation>, Failure> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Failure::usage(format!(
            "--request-cancellation-rate {fraction}: must be a fraction from 0 to 1"
        )));
    }
    let delay = super::connection::seconds("--request-cancellation-delay", delay)?;
    Ok((fraction > 0.0).then_some(Cancellation { fraction, delay }))
}
