//! How the runner shows a world who it is, and knows that it is the world: TLS, and a token.
//!
//! ```text
//! Credentials (paths only) ──each connection──► connector: a TLS client, made of the files as they are
//!                          └─each call────────► bearer: what the token's file holds now
//! ```
//!
//! No secret is kept: what was read goes into the connection or the call, and the next one reads
//! again. So a certificate or token that is rotated is taken without anybody being told of it.

mod pem;
mod tls;

use std::io;
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};

use crate::files::trust::{self, Kind, Unsafe};

pub use tls::{Private, Refusal, connect};

/// What is shown to a world, and by what it is known. Paths, no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// How the connection is made private; none: it is not.
    pub tls: Option<Tls>,
    /// The file that holds the token that each call bears.
    pub token_file: Option<PathBuf>,
}

/// How a connection is made private, and with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates that vouch for the world; none: those of this system.
    pub ca: Option<PathBuf>,
    /// By what the runner shows who it is.
    pub identity: Option<Identity>,
    /// The name in the world's certificate; none: the host of its address.
    pub server_name: Option<String>,
}

/// A certificate, with those that vouch for it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file of the certificates.
    pub cert: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

/// Why there are no credentials. What a file holds is never in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is not there, or cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others could have written the file, or have read a secret.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// The file does not hold what it should.
    #[error("{} holds no {what}", path.display())]
    NotThere {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The files do not go together, or the system has no certificates.
    #[error("{0}")]
    Unusable(String),
}

impl CredentialError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => {
                format!("write the path of a file that the runner may read, not {}", path.display())
            }
            Self::Unsafe(why) => why.help.clone(),
            Self::NotThere { what, .. } => format!("write the path of a file with a {what}"),
            Self::Unusable(_) => "write files that go together".to_owned(),
        }
    }

    /// What is wrong, without what to do about it.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Unsafe(why) => format!("{} {}", why.path.display(), why.problem),
            Self::Unreadable { .. } | Self::NotThere { .. } | Self::Unusable(_) => self.to_string(),
        }
    }
}

/// The longest token that is sent, in bytes: servers take headers of 8 KiB.
const LONGEST_TOKEN: u64 = 8 << 10;

/// What a call bears as `authorization`: the token that the file holds now. Blocks for the file.
///
/// # Errors
/// If the file cannot be read, is open to others, or holds no token.
pub fn bearer(path: &Path) -> Result<MetadataValue<Ascii>, CredentialError> {
    let bytes = read(path, Kind::Secret, LONGEST_TOKEN)?;
    let token = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    let not_there =
        || CredentialError::NotThere { path: path.to_owned(), what: "token in one line" };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(not_there());
    }
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| not_there())?;
    // So it is not printed with the rest of a request, nor put into a table of headers.
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path, kind: Kind, most: u64) -> Result<Vec<u8>, CredentialError> {
    trust::read(path, kind, most).map_err(|source| {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<Unsafe>()) {
            Some(why) => why.clone().into(),
            None => CredentialError::Unreadable { path: path.to_owned(), source },
        }
    })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
