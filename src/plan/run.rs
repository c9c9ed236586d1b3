//! One start of one agent, and how it ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::in_units;

/// Names one start of one agent. Never used twice while the runner lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

impl RunId {
    /// The greatest that is believed of what was written down: whoever wrote a greater one was no
    /// runner, and after it there have to be others.
    pub const GREATEST: Self = Self(u64::MAX >> 1);
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How an agent's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// It returned this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The kernel killed it, as its tree had used up the memory that it may take; or killed what it
    /// was there to run, for which it ended as if killed itself (code 137), as launchers do.
    OutOfMemory {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The cluster that it ran in took it away.
    Lost(Loss),
    /// It ended while no runner was there to see how.
    Unknown,
}

/// How a cluster takes an agent away. None of it is the agent's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Loss {
    /// Its node had too little of something.
    Evicted,
    /// Others went before it.
    Preempted,
    /// Its node is gone, or was shut down.
    Node,
    /// Somebody deleted its pod.
    Deleted,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted from its node",
            Self::Preempted => "preempted by others",
            Self::Node => "lost with its node",
            Self::Deleted => "its pod was deleted",
        })
    }
}

impl Exit {
    /// Whether the process says that all went well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Code(0) => "success",
            Self::Code(_) => "error",
            Self::Signal(_) => "signal",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Lost(Loss::Evicted) => "evicted",
            Self::Lost(Loss::Preempted) => "preempted",
            Self::Lost(Loss::Node) => "node_lost",
            Self::Lost(Loss::Deleted) => "pod_deleted",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory { limit } => {
                write!(f, "OOM: killed by the kernel at {}", in_units(*limit))
            }
            Self::Lost(loss) => write!(f, "{loss}"),
            Self::Unknown => f.write_str("an end that nobody saw"),
        }
    }
}
