//! Which files an agent may use.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entity::EntityId;

/// What stands for the entity's id in a path.
pub const PLACEHOLDER: &str = "{entity_id}";

/// The files that an agent may use, and no others. Paths are relative to its working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// Where it may read and run what is at and below.
    pub read: Vec<String>,
    /// Where it may also write, make and remove what is at and below.
    pub write: Vec<String>,
}

impl Sandbox {
    /// That of the agent for `entity`.
    #[must_use]
    pub fn resolve(&self, entity: &EntityId) -> Self {
        let fill = |paths: &[String]| {
            let filled = |path: &String| {
                let named = path.contains(PLACEHOLDER);
                if named { path.replace(PLACEHOLDER, &name_of(entity)) } else { path.clone() }
            };
            paths.iter().map(filled).collect()
        };
        Self { read: fill(&self.read), write: fill(&self.write) }
    }

    /// The paths, with whether they may be written to, for an agent that runs in `cwd`.
    pub fn paths(&self, cwd: &Path) -> impl Iterator<Item = (PathBuf, bool)> {
        let read = self.read.iter().map(|path| (path, false));
        read.chain(self.write.iter().map(|path| (path, true)))
            .map(|(path, writes)| (cwd.join(path), writes))
    }
}

/// The id as the name of one file, whatever the world has called the entity: all but letters of
/// ASCII, digits, `-`, `_` and dots that it does not begin with is percent-encoded. So it leads
/// nowhere else.
fn name_of(entity: &EntityId) -> String {
    let mut name = String::new();
    for (index, byte) in entity.as_str().bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && index > 0) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name
}

#[cfg(test)]
mod tests;
