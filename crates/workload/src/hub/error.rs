//! Why the hub cannot give a file.

use std::io;
use std::path::PathBuf;

/// Whether an access token was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// There is none.
    Missing,
    /// It was sent.
    Sent,
    /// It was kept back, because the hub is another machine and its address is plain HTTP.
    Withheld,
}

impl TokenUse {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "; none was sent",
            Self::Sent => "; the access token that was sent does not grant access",
            Self::Withheld => {
                "; the access token was not sent, because the address is plain http:// and everyone on the way could \
                 read it: use https:// in HF_ENDPOINT, or set INFEROMETER_HF_TOKEN_OVER_HTTP=1 to send it all the same"
            }
        }
    }
}

/// Why the hub cannot give a file.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not in the cache, and no connection is allowed.
    #[error(
        "{file} of {repo} is not in the cache {} and HF_HUB_OFFLINE is set; unset it to download, set \
         HF_HOME or HF_HUB_CACHE to the cache that has it, or give a local path", cache.display()
    )]
    OfflineMiss {
        /// Repository.
        repo: String,
        /// File.
        file: String,
        /// Cache folder.
        cache: PathBuf,
    },
    /// The repository does not exist, or is private: the hub does not tell the two apart.
    #[error(
        "the repository {repo} was not found on {endpoint} (HTTP {status}). Check the spelling; a private \
         repository needs an access token in HF_TOKEN"
    )]
    NoSuchRepo {
        /// Repository.
        repo: String,
        /// Base URL.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// The repository has no such file.
    #[error("the repository {repo} on {endpoint} has no file {file}")]
    NoSuchFile {
        /// Repository.
        repo: String,
        /// File.
        file: String,
        /// Base URL.
        endpoint: String,
    },
    /// Access is refused.
    #[error(
        "access to {repo} on {endpoint} was refused (HTTP {status}): the repository is gated or private. \
         Accept its terms on its page and set HF_TOKEN to an access token{}",
        token.words()
    )]
    Refused {
        /// Repository.
        repo: String,
        /// Base URL.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// Whether a token was sent.
        token: TokenUse,
    },
    /// Another answer than expected.
    #[error("{url} answered HTTP {status}; the hub's address comes from HF_ENDPOINT")]
    Status {
        /// Address asked.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer at all.
    #[error(
        "cannot reach {url}: {message}. Set HF_ENDPOINT to a mirror, HF_HUB_OFFLINE=1 to use the cache alone, \
         or give a local path"
    )]
    Unreachable {
        /// Address asked.
        url: String,
        /// Why.
        message: String,
    },
    /// The hub names a file whose path leads out of the repository.
    #[error(
        "{endpoint} lists the file {file:?} in {repo}: expected a relative path without \"..\"; nothing was \
         written. Check HF_ENDPOINT"
    )]
    UnsafeName {
        /// Repository.
        repo: String,
        /// File, as listed.
        file: String,
        /// Base URL.
        endpoint: String,
    },
    /// The cache cannot be written.
    #[error(
        "cannot write to the cache {}: {source}; set HF_HOME or HF_HUB_CACHE to a folder that can be written",
        path.display()
    )]
    Cache {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
