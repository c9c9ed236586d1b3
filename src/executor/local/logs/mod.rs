//! Agents' logs: each written by its agent alone, and cut into segments behind the agent's back.
//!
//! ```text
//! agent ──O_APPEND──► agent-x.log ··hole··│ data
//!                          └── copy, rename, punch ──► agent-x.log.<n>.<start>-<end>  (the rotator)
//!                          └── rename at a start ────► agent-x.log.<n>.<start>-       (the starter)
//! ```
//!
//! What was written is, at every moment, the segments in the order of `<n>`, then the live log from
//! where its data begin. Nothing else has to be known, so whoever dies at whatever moment leaves
//! a state that can be read and gone on from: see [`live`] for the one that takes a second look.
//! Whoever changes anything but the end of a live log holds an exclusive lock on the directory.

mod dir;
mod fault;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod header;
mod live;
mod look;
mod names;
mod open;
mod read;
mod retain;
mod rotate;
mod rotator;
mod stir;

pub use follow::{Follower, Writes};
pub use header::{HEAD, header_line};
pub(super) use open::{Opened, open};
pub use read::{joined, tail, tail_of};
pub use rotator::{Rotator, Settings, Status};

/// How much of what agents write is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a log may be before a segment is cut off it; any length if there is none.
    pub max_bytes: Option<u64>,
    /// How many segments are kept for each agent.
    pub keep: usize,
    /// How long all logs together may be; any length if there is none.
    pub max_total_bytes: Option<u64>,
}

#[cfg(test)]
mod tests;
