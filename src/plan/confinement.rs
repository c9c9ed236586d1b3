//! What of the runner's own an agent gets, and what it is kept from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The variables that agents inherit unless the file says otherwise.
pub const ENV_INHERIT: [&str; 9] =
    ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV", "UV_*", "SSL_CERT_*"];

/// What of the runner's own an agent gets, and what it is kept from. It is part of what an agent
/// was started as, so it holds no value of any variable: those may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// The variables of the runner's environment that it inherits: names, or beginnings of names
    /// with a `*` at the end.
    pub env_inherit: Vec<String>,
}

impl Default for Confinement {
    fn default() -> Self {
        Self { env_inherit: ENV_INHERIT.map(str::to_owned).to_vec() }
    }
}

impl Confinement {
    /// Whether a variable of this name is inherited.
    #[must_use]
    pub fn inherits(&self, name: &[u8]) -> bool {
        self.env_inherit.iter().any(|pattern| match pattern.strip_suffix('*') {
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
