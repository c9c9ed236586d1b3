//! Finding the file that `--config` names.

use std::fmt;
use std::path::{Path, PathBuf};

use super::near::likeness;

/// No file bears the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// The name as it was given.
    pub name: String,
    /// The paths that were tried, in order.
    pub tried: Vec<PathBuf>,
    /// The names that `./configs` has, the most similar first.
    pub known: Vec<String>,
}

impl std::error::Error for NotFound {}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<String> =
            self.tried.iter().map(|path| format!("`{}`", path.display())).collect();
        write!(f, "no configuration `{}`: tried {}", self.name, tried.join(", "))?;
        if self.known.is_empty() {
            f.write_str("; write the path of a TOML file, as `./configs` has none")
        } else {
            let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
            write!(f, "; `./configs` has {}", known.join(", "))
        }
    }
}

/// The file that `name_or_path` means: a path, or a name in `./configs`, with or without `.toml`.
pub fn locate(name_or_path: &str) -> Result<PathBuf, NotFound> {
    locate_in(Path::new(""), name_or_path)
}

/// The same, with relative paths taken from `base`.
pub(super) fn locate_in(base: &Path, name: &str) -> Result<PathBuf, NotFound> {
    let configs = Path::new("configs");
    let tried = vec![PathBuf::from(name), configs.join(name), configs.join(format!("{name}.toml"))];
    // A pipe is a file as well, as far as reading it once goes; a directory is not.
    let is_file = |path: &&PathBuf| {
        !name.is_empty() && base.join(path).metadata().is_ok_and(|meta| !meta.is_dir())
    };
    if let Some(found) = tried.iter().find(is_file) {
        return Ok(found.clone());
    }
    Err(NotFound { name: name.to_owned(), known: like(&base.join(configs), name), tried })
}

/// The names that `./configs` has.
#[must_use]
pub fn known() -> Vec<String> {
    like(Path::new("configs"), "")
}

/// Those that a directory has, the most similar to this one first.
fn like(configs: &Path, name: &str) -> Vec<String> {
    let entries = configs.read_dir().into_iter().flatten().flatten();
    let mut known: Vec<String> = entries
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            file.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    known.sort();
    let wanted = name.strip_suffix(".toml").unwrap_or(name).to_lowercase();
    let likeness = |known: &String| likeness(&wanted, &known.to_lowercase());
    known.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
    known
}
