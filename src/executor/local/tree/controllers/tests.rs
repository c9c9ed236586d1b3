use super::*;

/// A cgroup of v2 as the kernel shows it, with what it hands on to those below it.
fn cgroup(dir: &Path, hands_on: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::write(subtree_control(dir), hands_on).unwrap();
    dir.to_owned()
}

#[test]
fn a_controller_is_handed_on_from_above_and_only_where_it_is_not_yet() {
    let temp = tempfile::tempdir().unwrap();
    let place = cgroup(temp.path(), "cpu memory\n");
    let home = cgroup(&place.join("home"), "\n");
    let changed = |home: &Path, controller: &str| {
        let mut changed = Vec::new();
        enable(home, controller, &mut changed).unwrap();
        changed
    };
    assert_eq!(changed(&home, "memory"), [subtree_control(&home)]);
    assert_eq!(fs::read_to_string(subtree_control(&place)).unwrap(), "cpu memory\n");
    assert_eq!(fs::read_to_string(subtree_control(&home)).unwrap(), "+memory");

    let home = cgroup(&place.join("other"), "memory pids\n");
    assert_eq!(changed(&home, "memory"), Vec::<PathBuf>::new());
    assert_eq!(changed(&home, "pids"), [subtree_control(&place)]);
    assert!(fs::read_to_string(subtree_control(&place)).unwrap().starts_with("+pids"));
    assert!(enable(&place.join("nothing"), "memory", &mut Vec::new()).is_err());
}

#[test]
fn what_is_in_the_way_is_told_in_words() {
    let told = |errno: Errno| reason(&errno.into());
    assert_eq!(told(Errno::NOENT), "it has no such controller");
    assert_eq!(told(Errno::BUSY), "processes live right in the cgroup above");
    assert!(told(Errno::ROFS).contains("Read-only"));
}

#[test]
fn without_controllers_each_limit_says_why() {
    let none = Controllers::none("no cgroups");
    let limits = Limits { pids: Some(1), nofile: Some(64), ..Limits::default() };
    assert!(!none.enforce_any_of(&limits));
    assert!(!none.enforce_all(&BTreeSet::from([Limit::Pids])));
    assert!(none.enforce_all(&BTreeSet::new()));
    assert_eq!(none.missing.len(), Limit::ALL.len());
    assert!(none.homes_beside().is_empty());
}
