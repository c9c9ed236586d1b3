//! The name of an agent's log file: pure, and safe for whatever the world calls an entity.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::plan::EntityId;

/// File systems take names of up to 255 bytes; the rest is left for suffixes of rotated logs.
const LONGEST: usize = 200;

/// Everything but `[A-Za-z0-9._@+-]`.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'@').remove(b'+').remove(b'-');

const PREFIX: &str = "agent-";
const SUFFIX: &str = ".log";

/// The file name of the log of the agents that serve `entity`.
///
/// It has no slash and begins with `agent-`, so it stays in its directory. Distinct ids have
/// distinct names. A name that would be too long is cut, and ends in `~` (which stands in no other
/// name) and a hash of the id.
#[must_use]
pub fn log_name(entity: &EntityId) -> String {
    let encoded = utf8_percent_encode(entity.as_str(), ENCODED).to_string();
    let whole = format!("{PREFIX}{encoded}{SUFFIX}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = format!("~{:016x}", fnv1a(entity.as_str().as_bytes()));
    let room = LONGEST - PREFIX.len() - hash.len() - SUFFIX.len();
    // The encoded text is ASCII, so every index is a boundary.
    let kept = encoded.get(..room).unwrap_or_default();
    format!("{PREFIX}{kept}{hash}{SUFFIX}")
}

/// FNV-1a, 64 bits: written out, as a name made of it must be the same in every build.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
