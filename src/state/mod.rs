//! What a runner remembers beyond its own life: one directory for each instance, with a lock, and
//! a journal of what was decided and who runs.

mod directory;
mod journal;
mod restore;

#[cfg(test)]
mod tests;

pub use directory::{Directory, DirectoryError};
pub use journal::{Journal, Memory};
pub use restore::{confinement, restore};
