//! What of the runner's own an agent gets, and what it is kept from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::entity::EntityId;
use super::limits::Limits;
use super::sandbox::Sandbox;

/// The variables that agents inherit unless the file says otherwise.
pub const ENV_INHERIT: [&str; 9] =
    ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV", "UV_*", "SSL_CERT_*"];

/// The variables that no agent inherits, whatever the file says: they tell the runner how to speak
/// to its service manager, which would take the words of an agent for its.
const NEVER_INHERITED: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// What of the runner's own an agent gets, and what it is kept from. It is part of what an agent
/// was started as, so it holds no value of any variable: those may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// The variables of the runner's environment that it inherits: names, or beginnings of names
    /// with a `*` at the end.
    pub env_inherit: Vec<String>,
    /// The user that it runs as, by name or number; none: the runner's.
    pub user: Option<String>,
    /// Its group, by name or number; none: the user's, or the runner's.
    pub group: Option<String>,
    /// Whether nothing that it runs may have more than it has itself (setuid, file capabilities).
    pub no_new_privs: bool,
    /// How much of the machine it may take.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The files that it may use; none: all that its user may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

impl Default for Confinement {
    fn default() -> Self {
        Self {
            env_inherit: ENV_INHERIT.map(str::to_owned).to_vec(),
            user: None,
            group: None,
            no_new_privs: true,
            limits: Limits::default(),
            sandbox: None,
        }
    }
}

impl Confinement {
    /// Whether both run as the same user with the same privileges.
    #[must_use]
    pub fn same_privileges(&self, other: &Self) -> bool {
        (&self.user, &self.group, self.no_new_privs)
            == (&other.user, &other.group, other.no_new_privs)
    }

    /// That of the agent for `entity`.
    #[must_use]
    pub fn resolve(&self, entity: &EntityId) -> Self {
        let sandbox = self.sandbox.as_ref().map(|sandbox| sandbox.resolve(entity));
        Self { sandbox, ..self.clone() }
    }

    /// Whether a variable of this name is inherited.
    #[must_use]
    pub fn inherits(&self, name: &[u8]) -> bool {
        let is_ours = NEVER_INHERITED.iter().any(|ours| ours.as_bytes() == name);
        !is_ours
            && self.env_inherit.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning.as_bytes()),
                None => name == pattern.as_bytes(),
            })
    }
}

/// The same for equal values, in one line.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests;
