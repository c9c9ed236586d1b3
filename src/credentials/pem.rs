//! Certificates and keys in files.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{CredentialError, read};
use crate::files::trust::Kind;

/// The longest file, in bytes: all certificates of a system are a quarter of it.
const LONGEST: u64 = 1 << 20;

const CERTIFICATE: &str = "certificate in PEM form (`-----BEGIN CERTIFICATE-----`)";
const KEY: &str = "private key in PEM form without a password (`-----BEGIN PRIVATE KEY-----`)";

/// The certificates that a file holds: at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = read(path, Kind::Believed, LONGEST)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    read.ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| CredentialError::NotThere { path: path.to_owned(), what: CERTIFICATE })
}

/// The first key that a file holds.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let bytes = read(path, Kind::Secret, LONGEST)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| CredentialError::NotThere { path: path.to_owned(), what: KEY })
}
