use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

const SYSTEMD: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate
";

fn mount(root: &str, at: &str) -> Mount {
    Mount { at: at.into(), root: root.into() }
}

#[test]
fn a_mount_is_found_beside_those_of_v1_and_by_itself() {
    assert_eq!(parse_mounts(HYBRID, None), [mount("/", "/sys/fs/cgroup/unified")]);
    assert_eq!(parse_mounts(SYSTEMD, None), [mount("/", "/sys/fs/cgroup")]);
    let odd = "1 2 0:3 /a\\040b /c\\134d\\0 rw - cgroup2 none rw\nno mount at all\n\n";
    assert_eq!(parse_mounts(odd, None), [mount("/a b", "/c\\d\\0")]);
}

#[test]
fn the_own_cgroup_is_the_one_of_v2() {
    let hybrid = "5:memory:/in/memory\n0::/user.slice/a:b.scope\n";
    assert_eq!(parse_own(hybrid, None), Some("/user.slice/a:b.scope".into()));
    assert_eq!(parse_own("4:memory:/only/v1\n", None), None);
}

#[test]
fn a_controller_of_v1_is_found_alone_and_beside_others() {
    assert_eq!(parse_mounts(HYBRID, Some("pids")), [mount("/", "/sys/fs/cgroup/pids")]);
    assert_eq!(parse_mounts(HYBRID, Some("memory")), []);
    let two = "36 31 0:33 / /both rw - cgroup cgroup rw,cpu,cpuacct\n";
    assert_eq!(parse_mounts(two, Some("cpu")), [mount("/", "/both")]);
    assert_eq!(parse_mounts(two, Some("acct")), []);
    let own = "5:cpu,cpuacct:/in/cpu:x\n4:name=systemd:/\n0::/unified\n";
    assert_eq!(parse_own(own, Some("cpu")), Some("/in/cpu:x".into()));
    assert_eq!(parse_own(own, Some("memory")), None);
}

#[test]
fn a_cgroup_is_seen_where_the_mount_shows_its_part_of_the_hierarchy() {
    let own = Path::new("/user.slice/app");
    assert_eq!(mount("/", "/sys").directory_of(own), Some("/sys/user.slice/app".into()));
    assert_eq!(mount("/user.slice", "/sys").directory_of(own), Some("/sys/app".into()));
    assert_eq!(mount("/other", "/sys").directory_of(own), None);
    // Moved out of what its namespace shows.
    assert_eq!(mount("/", "/sys").directory_of(Path::new("/../outside")), None);
}

#[test]
fn directories_are_found_by_name_at_any_depth() {
    let temp = tempfile::tempdir().unwrap();
    for path in ["a/b/runner-1", "runner-1/inner/runner-1", "runner-2"] {
        fs::create_dir_all(temp.path().join(path)).unwrap();
    }
    let mut found = mount("/", temp.path().to_str().unwrap()).find("runner-1");
    found.sort();
    assert_eq!(found, ["a/b/runner-1", "runner-1"].map(|path| temp.path().join(path)));
}
