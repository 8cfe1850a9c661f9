//! The time limits of one exchange, with a single coarse timer that is set again when it expires,
//! and when a limit begins that may be shorter than the one before.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use inferometer_core::{Nanos, Outcome};
use inferometer_os::clock;
use tokio::time::{Instant, Sleep};

use crate::reply::Fault;
use crate::settings::Timeouts;

/// How long the end of the body may take after the end marker before the answer counts as complete
/// and the connection is closed.
const AFTER_DONE: Nanos = Nanos::from_millis(1_000);

/// Informational answers (1xx) that a request may get before the answer itself. Servers send one
/// `100 Continue`, a few `103 Early Hints`, or `102 Processing` every some seconds for as long as
/// they work; with the limit for the first byte, 600 s, this is room for one every 6 s.
pub(crate) const INFORMATIONAL: u32 = 100;

/// Which limit has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    FirstByte,
    /// Status and headers have begun, and do not end.
    Head,
    Idle,
    Total,
    /// The client cancels the request.
    Cancel,
    /// The end marker came some time ago.
    AfterDone,
    /// More informational answers than a server has reason to send.
    Informational,
}

/// How long status and headers may take in all: far longer than any that a server sends slowly.
fn head_limit(timeouts: &Timeouts) -> Nanos {
    timeouts.first_byte + Nanos(timeouts.idle.0.saturating_mul(10))
}

impl Expired {
    /// The fault that it is, for an exchange that has got `informational` answers (1xx).
    pub(crate) fn fault(self, timeouts: &Timeouts, informational: u32) -> Fault {
        let seconds = Nanos::as_secs_f64;
        let message = match self {
            Self::Cancel => {
                let message = "cancelled after the request was sent (--request-cancellation-rate)";
                return Fault::new(Outcome::Cancelled, message);
            }
            Self::Informational => {
                return Fault::malformed(format!(
                    "more than {INFORMATIONAL} informational answers (1xx) before the answer"
                ));
            }
            Self::FirstByte => {
                let others = match informational {
                    0 => String::new(),
                    count => format!("; informational answers (1xx) before that: {count}"),
                };
                format!(
                    "no first byte within {} s of the send (--first-byte-timeout){others}",
                    seconds(timeouts.first_byte)
                )
            }
            Self::Head => format!(
                "status and headers not complete within {} s of the send (--first-byte-timeout plus ten times \
                 --idle-timeout)",
                seconds(head_limit(timeouts))
            ),
            Self::Idle | Self::AfterDone => {
                format!("no data for {} s (--idle-timeout)", seconds(timeouts.idle))
            }
            Self::Total => format!(
                "answer not complete within {} s of the send (--total-timeout)",
                seconds(timeouts.total.unwrap_or_default())
            ),
        };
        Fault::new(Outcome::Timeout, message)
    }
}

/// The progress of an exchange, as far as its limits depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    /// When the request was last being sent.
    pub(crate) sent: Option<Nanos>,
    /// When part of the answer was last read.
    pub(crate) read: Option<Nanos>,
    /// The request has been sent in full.
    pub(crate) flushed: bool,
    /// Status and headers of the answer are complete.
    pub(crate) has_head: bool,
}

impl Activity {
    /// Nothing has happened yet.
    const NONE: Self = Self {
        sent: None,
        read: None,
        flushed: false,
        has_head: false,
    };
}

/// The limits of one exchange.
#[derive(Debug)]
pub(crate) struct Deadline<'a> {
    timeouts: Timeouts,
    /// The total limit counts from here.
    start: Nanos,
    /// The limit for the first byte counts from here until something is sent.
    begun: Nanos,
    cancel_after: Option<Nanos>,
    done_at: Option<Nanos>,
    armed_cancel: bool,
    armed_idle: bool,
    timer: Pin<&'a mut Sleep>,
}

/// The timer of a [`Deadline`], which sets it before its first use.
pub(crate) fn timer() -> Sleep {
    #[expect(
        clippy::disallowed_methods,
        reason = "limits are seconds; a millisecond does not matter"
    )]
    tokio::time::sleep(std::time::Duration::from_hours(1))
}

impl<'a> Deadline<'a> {
    /// The limits of an exchange that began at `start`, which for a request that is sent again is
    /// the start of its first attempt.
    pub(crate) fn new(
        timeouts: Timeouts,
        cancel_after: Option<Nanos>,
        timer: Pin<&'a mut Sleep>,
        start: Nanos,
    ) -> Self {
        let now = clock::now();
        let mut deadline = Self {
            timeouts,
            start,
            begun: now,
            cancel_after,
            done_at: None,
            armed_cancel: false,
            armed_idle: false,
            timer,
        };
        let (due, _) = deadline.due(Activity::NONE);
        deadline.set(now, due);
        deadline
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    fn set(&mut self, now: Nanos, due: Nanos) {
        let wait = due.since(now).min(Nanos::from_millis(86_400_000));
        self.timer
            .as_mut()
            .reset(Instant::now() + wait.to_duration());
    }

    /// The next limit.
    fn due(&self, activity: Activity) -> (Nanos, Expired) {
        let sent = activity.sent.unwrap_or(self.begun);
        let read = activity.read;
        let mut due = match (self.done_at, read) {
            (Some(done), _) => (done + AFTER_DONE, Expired::AfterDone),
            (None, Some(read)) => (read + self.timeouts.idle, Expired::Idle),
            (None, None) => (sent + self.timeouts.first_byte, Expired::FirstByte),
        };
        // Headers that come byte by byte keep the idle limit away for ever.
        let head = sent + head_limit(&self.timeouts);
        if !activity.has_head && read.is_some() && head < due.0 {
            due = (head, Expired::Head);
        }
        if let Some(total) = self.timeouts.total
            && self.start + total < due.0
        {
            due = (self.start + total, Expired::Total);
        }
        if let (Some(delay), true) = (self.cancel_after, self.armed_cancel)
            && sent + delay < due.0
        {
            due = (sent + delay, Expired::Cancel);
        }
        due
    }

    /// Notes that the end marker has come.
    pub(crate) fn done(&mut self, activity: Activity) {
        if self.done_at.is_none() {
            let now = clock::now();
            self.done_at = Some(now);
            let (due, _) = self.due(activity);
            self.set(now, due);
        }
    }

    /// Ready when a limit has expired; to be polled whenever nothing else is ready.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, activity: Activity) -> Poll<Expired> {
        let cancels = self.cancel_after.is_some() && !self.armed_cancel && activity.flushed;
        // The timer is still set to the limit for the first byte.
        let answers = !self.armed_idle && activity.read.is_some();
        if cancels || answers {
            self.armed_cancel |= cancels;
            self.armed_idle |= answers;
            let (due, _) = self.due(activity);
            self.set(clock::now(), due);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = clock::now();
            let (due, expired) = self.due(activity);
            if now >= due {
                return Poll::Ready(expired);
            }
            self.set(now, due);
        }
    }
}
