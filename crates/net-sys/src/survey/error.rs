//! Why a survey failed as a whole.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::netlink::NetlinkError;
use crate::netns::NetnsError;
use crate::netns_dir::WatchError;

/// A survey that cannot go on; what fails in one namespace alone is counted instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SurveyError {
    /// The links of this namespace cannot be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The directories of namespace files cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// This namespace itself cannot be opened.
    #[error("our own network namespace: {0}")]
    Namespace(#[from] NetnsError),
    /// Waiting for events failed.
    #[error("waiting for link and namespace events failed: {source}; open the survey again")]
    Wait {
        /// The error number.
        source: io::Error,
    },
}

impl SurveyError {
    /// Value of a `reason` label; the set is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Netlink(error) => error.reason(),
            Self::Watch(_) => "watch",
            Self::Namespace(error) => error.reason(),
            Self::Wait { .. } => "wait",
        }
    }

    pub(super) fn wait(errno: Errno) -> Self {
        Self::Wait { source: errno.into() }
    }
}
