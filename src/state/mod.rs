//! What a runner remembers beyond its own life: one directory for each instance, with a lock, and
//! a journal of what was decided and who runs.

mod directory;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod pods;
mod restore;

#[cfg(test)]
mod tests;

pub use directory::{Directory, DirectoryError};
pub use journal::{Journal, Memory};
pub use pods::restore_pods;
pub use restore::{confinement, restore};
