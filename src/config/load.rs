//! Reading a file from the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mistakes::{Mistake, Mistakes};
use super::{Config, Effective, Overrides, explain, parse, parse_world};
use crate::files::trust::{self, Kind};
use crate::world::Definition;

/// No configuration is as large; a device or a log that is named by accident is.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A configuration, and the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the file held: given to [`watch`](super::watch()), so that no change is missed between
    /// the two.
    pub bytes: Vec<u8>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Rejected(#[from] Mistakes),
}

/// Reads the file once, as it is now.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, LoadError> {
    let bytes = bytes_of(path)?;
    read_again(path, bytes, overrides)
}

/// What was read, once more, with what is known by now.
pub fn read_again(path: &Path, bytes: Vec<u8>, overrides: &Overrides) -> Result<Loaded, LoadError> {
    let config = decode(path, &bytes, |name, text| parse(name, text, overrides))?;
    Ok(Loaded { config: Arc::new(config), bytes })
}

/// All that holds with what was read, and where it comes from.
pub fn explain_read(
    path: &Path,
    bytes: &[u8],
    overrides: &Overrides,
) -> Result<Effective, LoadError> {
    let (_, effective) = decode(path, bytes, |name, text| explain(name, text, overrides))?;
    Ok(effective)
}

/// Reads the tables of a demo world from a file.
pub fn load_world(path: &Path) -> Result<Definition, LoadError> {
    Ok(decode(path, &bytes_of(path)?, parse_world)?)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, LoadError> {
    read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })
}

/// The file's bytes: it says which programs run, so nobody else may have written it. A pipe is what
/// the user has named, and nobody's to replace.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        trust::check(path, &meta, Kind::Believed)?;
    }
    trust::whole(&file, MOST_BYTES)
}

/// Hands the bytes to `parse` as text; bytes that are none are a mistake like any other.
pub(super) fn decode<T>(
    path: &Path,
    bytes: &[u8],
    parse: impl FnOnce(&str, &str) -> Result<T, Mistakes>,
) -> Result<T, Mistakes> {
    let name = path.display().to_string();
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(&name, text),
        Err(error) => {
            let at = error.valid_up_to();
            let text = String::from_utf8_lossy(bytes);
            let mistake = Mistake::at(&(at..at + '\u{fffd}'.len_utf8()), "the file is not UTF-8")
                .label("not a character")
                .help("save the file as UTF-8");
            Err(Mistakes::only(&name, &text, mistake))
        }
    }
}
