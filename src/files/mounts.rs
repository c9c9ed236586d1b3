//! Whether anybody can write into a directory at all, whatever its mode says: by how it is mounted.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Whether the directory is on a read-only mount, and no other mount that this process sees would
/// let somebody write there. A volume of a pod is such a directory.
///
/// What cannot be found out is no.
pub(crate) fn is_read_only(dir: &Path) -> bool {
    let looked = || {
        let dir = dir.canonicalize().ok()?;
        let found = statx(CWD, &dir, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let is_known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mounts = table.lines().map(Mount::parse).collect::<Option<Vec<_>>>()?;
        is_known.then(|| is_read_only_in(&mounts, found.stx_mnt_id, &dir))
    };
    looked().unwrap_or(false)
}

/// A line of `proc_pid_mountinfo(5)`.
#[derive(Debug)]
struct Mount {
    id: u64,
    device: String,
    /// The directory of the file system that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
    is_read_only: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let id = fields.next()?.parse().ok()?;
        let device = fields.nth(1)?.to_owned();
        let (root, point) = (path(fields.next()?), path(fields.next()?));
        let options = [fields.next()?, filesystem.split(' ').nth(2)?];
        let is_read_only = options.iter().any(|it| it.split(',').any(|option| option == "ro"));
        Some(Self { id, device, root, point, is_read_only })
    }
}

fn is_read_only_in(mounts: &[Mount], id: u64, dir: &Path) -> bool {
    let Some(mount) = mounts.iter().find(|mount| mount.id == id) else { return false };
    let Ok(below) = dir.strip_prefix(&mount.point) else { return false };
    let inside = mount.root.join(below);
    let shows = |other: &&Mount| other.device == mount.device && inside.starts_with(&other.root);
    mounts.iter().filter(shows).all(|mount| mount.is_read_only)
}

/// A path as it stands there: blanks and backslashes are octal numbers.
fn path(written: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = written.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let number = octal.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a pod: a ConfigMap, and a directory of the same disk that may be written into.
    const POD: &str = r"100 90 0:50 / / ro,relatime - overlay overlay rw,lowerdir=/l
101 100 8:1 /kubelet/pods/1/volumes/config /etc/runner ro,relatime - ext4 /dev/sda1 rw
102 100 8:1 /kubelet/pods/1/volumes/work /work rw,relatime - ext4 /dev/sda1 rw
103 100 0:60 / /a\040b rw - tmpfs tmpfs ro,size=1k
";

    fn is_ro(table: &str, id: u64, dir: &str) -> bool {
        let mounts: Option<Vec<_>> = table.lines().map(Mount::parse).collect();
        is_read_only_in(&mounts.unwrap(), id, Path::new(dir))
    }

    #[test]
    fn a_mount_that_nobody_writes_through_is_told_from_others() {
        assert!(is_ro(POD, 101, "/etc/runner"));
        assert!(is_ro(POD, 101, "/etc/runner/..data"));
        assert!(!is_ro(POD, 102, "/work"));
        assert!(is_ro(POD, 103, "/a b/c"), "the file system itself");
        assert!(!is_ro(POD, 104, "/etc/runner"), "a mount that is not listed");
        assert!(!is_ro(POD, 101, "/etc"), "a mount that is not there");
    }

    #[test]
    fn a_mount_is_not_believed_where_another_one_shows_the_same() {
        // On the node itself.
        let all = format!("{POD}99 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n");
        assert!(!is_ro(&all, 101, "/etc/runner"));
        let below = "110 99 8:1 /kubelet/pods/1/volumes /v rw - ext4 /dev/sda1 rw\n";
        assert!(!is_ro(&format!("{POD}{below}"), 101, "/etc/runner"));
        // What is not above it shows nothing of it.
        let beside = "110 99 8:1 /kubelet/pods/1/volumes/con /v rw - ext4 /dev/sda1 rw\n";
        assert!(is_ro(&format!("{POD}{beside}"), 101, "/etc/runner"));
        let within = "110 99 8:1 /kubelet/pods/1/volumes/config/a /v rw - ext4 /dev/sda1 rw\n";
        assert!(is_ro(&format!("{POD}{within}"), 101, "/etc/runner"));
        assert!(!is_ro(&format!("{POD}{within}"), 101, "/etc/runner/a"));
    }

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        assert_eq!(path(r"/a\040b\134c\"), Path::new(r"/a b\c\"));
        let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(own.lines().all(|line| Mount::parse(line).is_some()), "{own}");
        assert!(!is_read_only(&std::env::temp_dir()));
    }
}
