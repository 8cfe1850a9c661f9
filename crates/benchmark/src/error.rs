//! Why a benchmark failed: usage errors, failures, and stops by the user.

use std::error::Error as StdError;
use std::fmt;

/// Why a benchmark, or a part of one, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user has to change something: a setting, a file, the server's address. Nothing was
    /// measured.
    #[error("{0}")]
    Usage(#[source] Cause),
    /// Something failed while running.
    #[error("{0}")]
    Failure(#[source] Cause),
    /// The user stopped it before anything was measured.
    #[error("{0}")]
    Interrupted(#[source] Cause),
}

/// A sentence for the user, and the error that caused it.
#[derive(Debug)]
pub struct Cause {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A usage error with this message.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(Cause {
            message: message.into(),
            source: None,
        })
    }

    /// A failure with this message.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::Failure(Cause {
            message: message.into(),
            source: None,
        })
    }

    /// A stop by the user, with this message.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::Interrupted(Cause {
            message: message.into(),
            source: None,
        })
    }

    /// True when the user has to change something.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }

    /// The same kind of error with `context` and a colon before its message.
    #[must_use]
    pub fn context(self, context: &str) -> Self {
        let with = |cause: Cause| Cause {
            message: format!("{context}: {}", cause.message),
            source: cause.source,
        };
        match self {
            Self::Usage(cause) => Self::Usage(with(cause)),
            Self::Failure(cause) => Self::Failure(with(cause)),
            Self::Interrupted(cause) => Self::Interrupted(with(cause)),
        }
    }

    /// The message followed by its causes, each once: some libraries repeat the cause in their own
    /// message.
    pub fn report(&self) -> String {
        let (Self::Usage(cause) | Self::Failure(cause) | Self::Interrupted(cause)) = self;
        let mut text = cause.message.clone();
        let mut last = text.clone();
        let mut source = cause.source.as_deref().and_then(StdError::source);
        while let Some(error) = source {
            let next = error.to_string();
            if !last.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            last = next;
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The message is that of the source itself, so the next one is the source's own cause.
        self.source.as_deref().and_then(StdError::source)
    }
}

impl Cause {
    pub(crate) fn of(error: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            message: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}

/// Turns the errors of libraries into an [`Error`] of one of its kinds.
pub trait OrError<T> {
    /// As a usage error: the user has to change something.
    ///
    /// # Errors
    ///
    /// The error of `self`, as a usage error.
    fn or_usage(self) -> Result<T, Error>;
    /// As a failure: something failed while running.
    ///
    /// # Errors
    ///
    /// The error of `self`, as a failure.
    fn or_failure(self) -> Result<T, Error>;
}

impl<T, E: StdError + Send + Sync + 'static> OrError<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, Error> {
        self.map_err(|error| Error::Usage(Cause::of(error)))
    }

    fn or_failure(self) -> Result<T, Error> {
        self.map_err(|error| Error::Failure(Cause::of(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read x")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read x: disk full")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn each_cause_is_shown_once() {
        let disk = || io::Error::other("disk full");
        let shown = |error: Error| error.report();
        assert_eq!(shown(Error::usage("a b")), "a b");
        assert_eq!(
            shown(Err::<(), _>(Outer(disk())).or_usage().unwrap_err()),
            "cannot read x: disk full"
        );
        assert_eq!(
            shown(Err::<(), _>(Repeating(disk())).or_failure().unwrap_err()),
            "cannot read x: disk full"
        );
        let within = Err::<(), _>(Outer(disk()))
            .or_failure()
            .unwrap_err()
            .context("--x");
        assert!(!within.is_usage());
        assert_eq!(shown(within), "--x: cannot read x: disk full");
    }
}
