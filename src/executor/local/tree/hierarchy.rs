//! Where cgroups can be made: found from what the kernel says of this process and its mounts,
//! never from the name or the age of a system.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::process::Pid;

/// The mounts of the hierarchy (v1) of a controller; of cgroup v2, if none is named, beside which
/// v1 may be mounted too (a hybrid hierarchy).
pub(super) fn mounts(controller: Option<&str>) -> io::Result<Vec<Mount>> {
    Ok(parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?, controller))
}

/// The path of this process's cgroup in such a hierarchy; none if there is no such hierarchy.
pub(super) fn own(controller: Option<&str>) -> io::Result<Option<PathBuf>> {
    Ok(parse_own(&fs::read_to_string("/proc/self/cgroup")?, controller))
}

/// The directory of the cgroup that a process is in.
pub(super) fn of(pid: Pid) -> Option<PathBuf> {
    // Asked of a thousand at once; nobody mounts it elsewhere meanwhile.
    static MOUNTS: LazyLock<Vec<Mount>> = LazyLock::new(|| mounts(None).unwrap_or_default());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()?;
    let path = parse_own(&text, None)?;
    MOUNTS.iter().find_map(|mount| mount.directory_of(&path))
}

/// A mount of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) at: PathBuf,
    /// The part of the hierarchy that is seen there.
    root: PathBuf,
}

impl Mount {
    /// Where a cgroup is seen in this mount, if it is.
    pub(super) fn directory_of(&self, cgroup: &Path) -> Option<PathBuf> {
        let outside = cgroup.components().any(|part| part.as_os_str() == "..");
        let below = cgroup.strip_prefix(&self.root).ok()?;
        (!outside).then(|| self.at.join(below))
    }

    /// All directories of this name, wherever they are in the mount. What cannot be read is
    /// passed over.
    pub(super) fn find(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut unread = vec![self.at.clone()];
        while let Some(dir) = unread.pop() {
            for child in children(&dir) {
                if child.file_name().is_some_and(|own| own == name) {
                    found.push(child);
                } else {
                    unread.push(child);
                }
            }
        }
        found
    }
}

/// The cgroups right below this one. None of one that cannot be read.
pub(super) fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_dir).map(|entry| entry.path()).collect()
}

/// The lines of `mountinfo`: fields, then optional fields up to a dash, then the type, the source
/// and the options, of which the controllers are some.
fn parse_mounts(mountinfo: &str, controller: Option<&str>) -> Vec<Mount> {
    let mount = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let (kind, mut options) = (rest.next()?, rest.nth(1)?.split(','));
        let fits = match controller {
            None => kind == "cgroup2",
            Some(controller) => kind == "cgroup" && options.any(|option| option == controller),
        };
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (unescape(fields.next()?), unescape(fields.next()?));
        fits.then_some(Mount { at, root })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// The lines of cgroups(7), `number:controllers:path`: that of v2 has the number 0 and names no
/// controller.
fn parse_own(cgroup: &str, controller: Option<&str>) -> Option<PathBuf> {
    let path = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let fits = match controller {
            None => number == "0",
            Some(controller) => controllers.split(',').any(|own| own == controller),
        };
        fits.then(|| PathBuf::from(path))
    };
    cgroup.lines().find_map(path)
}

/// A path in which spaces and the like stand as `\040`.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = digits.and_then(|digits| str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests;
