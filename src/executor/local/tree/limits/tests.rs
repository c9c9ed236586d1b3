use super::*;

const ALL: Limits =
    Limits { memory: Some(64 << 20), cpu: Some(250), pids: Some(7), nofile: Some(64) };

/// The files of a cgroup, as far as they are there.
fn files(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::write(dir.path().join(name), "").unwrap();
    }
    dir
}

/// What was written, for all limits.
fn written(version: Version, names: &[&str]) -> io::Result<Vec<String>> {
    let dir = files(names);
    for limit in Limit::ALL {
        set(dir.path(), version, limit, &ALL)?;
    }
    let text = |name: &&str| fs::read_to_string(dir.path().join(name)).unwrap();
    Ok(names.iter().map(text).collect())
}

#[test]
fn each_limit_is_written_as_its_hierarchy_has_it() {
    let v2 = ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "pids.max"];
    assert_eq!(written(Version::V2, &v2).unwrap(), ["67108864", "0", "1", "25000 100000", "7"]);
    let v1 = [
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "pids.max",
    ];
    assert_eq!(
        written(Version::V1, &v1).unwrap(),
        ["67108864", "67108864", "100000", "25000", "7"]
    );
}

#[test]
fn swap_may_be_missing_and_a_controller_may_not() {
    written(Version::V2, &["memory.max", "cpu.max", "pids.max"]).unwrap();
    let error = written(Version::V2, &["memory.max", "memory.swap.max", "cpu.max"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // What is not limited needs none.
    for limit in Limit::ALL {
        set(files(&[]).path(), Version::V1, limit, &Limits::default()).unwrap();
    }
}

#[test]
fn who_was_killed_for_the_limit_is_told_from_who_was_killed_for_want_of_memory() {
    let v2 = |events: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("memory.events"), events).unwrap();
        fs::write(dir.path().join("memory.max"), "67108864\n").unwrap();
        killed_at(dir.path())
    };
    let events = |oom, killed| {
        format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {killed}\noom_group_kill 0\n")
    };
    assert_eq!(v2(&events(1, 1)), Some(64 << 20));
    assert_eq!(v2(&events(1, 0)), None);
    assert_eq!(v2(&events(0, 1)), None);

    let v1 = |killed, most: u64| {
        let dir = tempfile::tempdir().unwrap();
        let control = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {killed}\n");
        fs::write(dir.path().join("memory.oom_control"), control).unwrap();
        fs::write(dir.path().join("memory.max_usage_in_bytes"), format!("{most}\n")).unwrap();
        fs::write(dir.path().join("memory.limit_in_bytes"), "67108864\n").unwrap();
        killed_at(dir.path())
    };
    assert_eq!(v1(2, 64 << 20), Some(64 << 20));
    assert_eq!(v1(1, (64 << 20) - 4096), Some(64 << 20));
    assert_eq!(v1(0, 64 << 20), None);
    assert_eq!(v1(1, 32 << 20), None);
    // Without a limit of memory there is none of these files.
    assert_eq!(killed_at(files(&[]).path()), None);
}
