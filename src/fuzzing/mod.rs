//! What is done with hostile input: one function for each place where bytes of others are read.
//!
//! Each takes any bytes and panics if the code it leads to does, or breaks a promise. `fuzz/` runs
//! them under libFuzzer; the tests run them on the inputs in `fuzz/corpus`, so that what was found
//! once is not forgotten. The bodies are beside the code that they are about.

#[cfg(test)]
mod tests;

pub use crate::cli::fuzzing::{control, logs};
pub use crate::config::fuzzing::config;
pub use crate::discovery::fuzzing::answer;
pub use crate::executor::fuzzing::paths;
pub use crate::state::fuzzing::journal;

/// The most frames of an input that are looked at: what comes after them costs time, and is no
/// other than what came before.
const MOST_FRAMES: usize = 256;

/// An input as a list of things that happen: each is a byte that says what, two bytes (the lower
/// one first) that say how long its content is, and the content. The last may be cut off.
pub(crate) fn frames(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let next = move || {
        let (&[what, low, high], rest) = data.split_first_chunk::<3>()?;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        data = rest;
        Some((what, content))
    };
    std::iter::from_fn(next).take(MOST_FRAMES)
}
