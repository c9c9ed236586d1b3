use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use super::*;

/// A file of this mode in a directory of that one.
struct Place {
    dir: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn new(file: u32, dir: u32) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "text").unwrap();
        let mode = Permissions::from_mode;
        fs::set_permissions(&path, mode(file)).unwrap();
        fs::set_permissions(place.path(), mode(dir)).unwrap();
        Self { dir: place, file: path }
    }

    fn read(&self, kind: Kind) -> Result<Vec<u8>, String> {
        read(&self.file, kind, 100).map_err(|error| error.to_string())
    }
}

#[test]
fn what_others_may_change_is_not_believed() {
    for (file, dir) in [(0o644, 0o755), (0o600, 0o700), (0o444, 0o1777), (0o640, 0o755)] {
        assert_eq!(
            Place::new(file, dir).read(Kind::Believed).unwrap(),
            b"text",
            "{file:o} {dir:o}"
        );
    }
    let open = Place::new(0o646, 0o755);
    let error = open.read(Kind::Believed).unwrap_err();
    assert!(error.contains("(mode 0646)"), "{error}");
    assert!(error.ends_with(&format!("run `chmod o-w {}`", open.file.display())), "{error}");
    let replaceable = Place::new(0o644, 0o777);
    let error = replaceable.read(Kind::Believed).unwrap_err();
    let (dir, file) = (replaceable.dir.path().display(), replaceable.file.display());
    assert!(error.contains(&format!("{file} could be replaced")), "{error}");
    assert!(error.ends_with(&format!("run `chmod o-w {dir}`")), "{error}");
}

#[test]
fn a_secret_is_nobody_elses_to_read() {
    for (mode, right) in
        [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o604, false)]
    {
        assert_eq!(Place::new(mode, 0o755).read(Kind::Secret).is_ok(), right, "{mode:o}");
        assert!(Place::new(mode, 0o755).read(Kind::Believed).is_ok(), "{mode:o}");
    }
}

#[test]
fn what_a_link_leads_to_counts() {
    let elsewhere = Place::new(0o644, 0o777);
    let own = tempfile::tempdir().unwrap();
    let link = own.path().join("link");
    std::os::unix::fs::symlink(&elsewhere.file, &link).unwrap();
    assert!(read(&link, Kind::Believed, 100).unwrap_err().to_string().contains("replaced"));
    fs::set_permissions(elsewhere.dir.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(read(&link, Kind::Believed, 100).unwrap(), b"text");
}

#[test]
fn a_file_of_somebody_else_and_one_of_a_group_of_many_are_not_believed() {
    if !geteuid().is_root() {
        eprintln!("NOT TESTED: files of other users, as only root can make them");
        return;
    }
    let strange = Place::new(0o644, 0o755);
    chown(&strange.file, Some(65_534), None).unwrap();
    let error = strange.read(Kind::Believed).unwrap_err();
    assert!(error.contains("belongs to user 65534"), "{error}");
    assert!(error.contains(&format!("run `chown 0 {}`", strange.file.display())), "{error}");
    let shared = Place::new(0o664, 0o755);
    assert_eq!(shared.read(Kind::Believed).unwrap(), b"text", "root's own group");
    chown(&shared.file, None, Some(65_534)).unwrap();
    let error = shared.read(Kind::Believed).unwrap_err();
    assert!(error.contains("its group 65534 (mode 0664)"), "{error}");
    assert!(error.contains("chmod g-w"), "{error}");
}
