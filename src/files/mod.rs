//! Noticing that files change: where to listen, and what tells one state of a file from the next.
//! And whether a file may be believed.
//!
//! Knows nothing of what the files are.

mod mounts;
mod places;
mod stamp;
pub(crate) mod trust;

pub(crate) use places::Places;
#[cfg(test)]
pub(crate) use places::directories;
pub(crate) use stamp::Stamp;
