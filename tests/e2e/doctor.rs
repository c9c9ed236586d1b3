//! `runner doctor`, on this host and on hosts from which something was taken away.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::control::said;
use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runner");

/// Of a host that a shell script makes of this one.
fn doctor_after(script: &str, args: &[&str], dir: &Path) -> Output {
    let script = format!("{script}\nexec \"$0\" doctor \"$@\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, PROGRAM]).args(args).current_dir(dir);
    command.env_remove("RUST_LOG").env("HOME", dir).env_remove("XDG_STATE_HOME").output().unwrap()
}

/// The report, and the exit code that came with it.
fn report(script: &str, args: &[&str], dir: &Path) -> (Option<i32>, Value) {
    let args: Vec<_> = args.iter().copied().chain(["-o", "json"]).collect();
    let (code, stdout, stderr) = said(&doctor_after(script, &args, dir));
    assert_eq!(stderr, "", "{stdout}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&report["apiVersion"], &report["kind"]),
        (&"runner/v1".into(), &"DoctorReport".into())
    );
    assert_eq!(report["healthy"].as_bool().unwrap(), code == Some(0));
    (code, report)
}

fn check<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["name"] == name);
    found.ok_or_else(|| format!("no {name}: {report}")).unwrap()
}

fn state<'r>(report: &'r Value, name: &str) -> &'r str {
    check(report, name)["state"].as_str().unwrap()
}

const ALWAYS: [&str; 18] = [
    "pidfd",
    "subreaper",
    "sandbox",
    "containment",
    "limit memory",
    "limit cpu",
    "limit pids",
    "open files",
    "processes",
    "file watch",
    "state directory",
    "state lock",
    "instance",
    "uv",
    "python3",
    "clock",
    "systemd",
    "terminal",
];

#[test]
fn it_tells_people_and_programs_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (code, report) = report("", &[], dir.path());
    assert_eq!(code, Some(0), "the tests run here, so all is there that is needed: {report}");
    let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ALWAYS);
    let (code, stdout, stderr) = said(&doctor_after("", &[], dir.path()));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let mut lines = stdout.lines();
    let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["CHECK", "STATE", "FOUND"]);
    for (name, line) in ALWAYS.iter().zip(lines) {
        assert!(line.starts_with(name) && line.contains(state(&report, name)), "{line}");
    }
    assert!(!stdout.contains('\u{1b}'), "colours without a terminal");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn it_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("doctor").env("TMPDIR", temp.path()).stdout(Stdio::null());
    let mut doctor = command.spawn().unwrap();
    let name = format!("runner-{:016x}", fnv1a(format!("process {}", doctor.id()).as_bytes()));
    assert!(doctor.wait().unwrap().success());
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
}

/// By which the directory of its trial is called.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn what_is_taken_away_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, few) = report("ulimit -n 80", &[], dir);
    assert_eq!((code, state(&few, "open files")), (Some(0), "Degraded"));
    assert!(check(&few, "open files")["found"].as_str().unwrap().contains("about 16 agents"));
    assert!(check(&few, "open files")["help"].as_str().unwrap().contains("LimitNOFILE"));
    let (code, none) = report("ulimit -n 40", &[], dir);
    assert_eq!((code, state(&none, "open files")), (Some(1), "Missing"));

    let (code, bare) = report("PATH=/nowhere", &[], dir);
    assert_eq!(
        (code, state(&bare, "uv"), state(&bare, "python3")),
        (Some(0), "Degraded", "Degraded")
    );

    let (code, unwritable) = report("", &["--state-dir", "/dev/null/state"], dir);
    assert_eq!((code, state(&unwritable, "state directory")), (Some(1), "Missing"));
    let (code, homeless) = report("unset HOME", &[], dir);
    assert_eq!((code, state(&homeless, "state directory")), (Some(1), "Missing"));
}

#[test]
fn uv_is_needed_by_who_runs_modules_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("bin")).unwrap();
    let uv = dir.join("bin/uv");
    fs::write(&uv, "#!/bin/sh\necho uv 9.9.9\n").unwrap();
    fs::set_permissions(&uv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = "[runner]\nserver = \"embedded\"\n[agents.default]\n";
    fs::write(dir.join("modules.toml"), format!("{config}module = \"m\"\n")).unwrap();
    let command = format!("{config}command = [{:?}]\n", misbehave());
    fs::write(dir.join("commands.toml"), command).unwrap();
    fs::write(dir.join("gone.toml"), format!("{config}command = [\"no-such-program\"]\n")).unwrap();
    let of = |path: &str, config: &str| report(&format!("PATH={path}"), &["-c", config], dir);

    let (code, report) = of("/nowhere", "modules.toml");
    assert_eq!((code, state(&report, "uv")), (Some(1), "Missing"));
    let (code, report) = of("/nowhere", "commands.toml");
    assert_eq!((code, state(&report, "uv")), (Some(0), "Degraded"));
    assert_eq!((state(&report, "programs"), state(&report, "world")), ("Ok", "Ok"));
    let (code, report) = of("$PWD/bin", "modules.toml");
    assert_eq!((code, state(&report, "uv")), (Some(0), "Ok"));
    assert!(check(&report, "uv")["found"].as_str().unwrap().starts_with("uv 9.9.9, "));
    let (code, report) = of("/nowhere", "gone.toml");
    assert_eq!((code, state(&report, "programs")), (Some(1), "Missing"));
}

#[test]
fn a_host_without_cgroups_is_told_and_what_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let probe = Command::new("unshare").args(["--mount", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("NOT TESTED: mounts cannot be taken away here (it takes root)");
        return;
    }
    let args = ["-c", &format!("exec unshare --mount /bin/sh -c '{TAKE}' \"$0\" \"$@\"")];
    let of = |more: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.args(args).arg(PROGRAM).args(more).args(["-o", "json"]).current_dir(dir);
        let (code, stdout, stderr) = said(&command.output().unwrap());
        assert_eq!(stderr, "", "{stdout}");
        (code, serde_json::from_str::<Value>(&stdout).unwrap())
    };
    let (code, report) = of(&["--state-dir", "state"]);
    assert_eq!((code, state(&report, "containment")), (Some(0), "Degraded"), "{report}");
    let containment = check(&report, "containment");
    assert!(containment["found"].as_str().unwrap().starts_with("process groups: "));
    assert_eq!(state(&report, "limit memory"), "Degraded");

    let template = format!("[agents.default]\ncommand = [{:?}]\n", misbehave());
    let file = |runner: &str, limits: &str| {
        let text = format!("[runner]\nserver = \"embedded\"\n{runner}{template}{limits}");
        fs::write(dir.join("runner.toml"), text).unwrap();
        of(&["-c", "runner.toml", "--state-dir", "state"])
    };
    let (code, report) = file("containment = \"cgroup\"\n", "");
    assert_eq!((code, state(&report, "containment")), (Some(1), "Missing"));
    let (code, report) = file("", "limits = { memory = \"1GiB\" }\n");
    assert_eq!((code, state(&report, "limit memory")), (Some(1), "Missing"), "{report}");
    assert_eq!(
        (state(&report, "limit pids"), state(&report, "configuration")),
        ("Degraded", "Missing")
    );
    let (code, report) = file("containment = \"process-group\"\n", "");
    assert_eq!((code, state(&report, "containment")), (Some(0), "Ok"));
}

/// Takes all cgroups away from what is run after it.
const TAKE: &str = "mount --make-rprivate / && \
    while at=$(grep -m1 -e \" - cgroup2\\? \" /proc/self/mountinfo | cut -d\" \" -f5) && \
    [ -n \"$at\" ]; do umount -l \"$at\" || exit 9; done; exec \"$0\" doctor \"$@\"";

#[test]
fn an_instance_its_lock_and_its_world_are_found() {
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let config = format!(
        "[runner]\nserver = \"{}\"\n[agents.default]\ncommand = [{:?}]\n",
        world.address,
        misbehave()
    );
    let runner = Runner::start(&config);
    runner.pids(0, &["alice", "bob"]);
    let args = ["-c", "runner.toml", "--state-dir", "state"];
    let (code, report) = report("", &args, runner.dir.path());
    assert_eq!(code, Some(0), "{report}");
    let found = |name: &str| check(&report, name)["found"].as_str().unwrap().to_owned();
    let pid = runner.process.id();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(found("instance"), format!("runner: version {version}, process {pid}"));
    assert_eq!(found("state lock"), format!("process {pid} has it"));
    assert_eq!(found("world"), format!("{} answers: 2 entities", world.address));
    runner.stop();
}

#[test]
fn a_world_that_is_away_is_missed_and_a_wrong_file_is_said_to_be_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config =
        format!("[runner]\nserver = \"{free}\"\n[agents.default]\ncommand = [{:?}]\n", misbehave());
    fs::write(dir.join("runner.toml"), config).unwrap();
    let (code, report) = report("", &["-c", "runner.toml"], dir);
    assert_eq!((code, state(&report, "world")), (Some(1), "Missing"));
    fs::write(dir.join("wrong.toml"), "[runer]\n").unwrap();
    let (code, stdout, stderr) = said(&doctor_after("", &["-c", "wrong.toml"], dir));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("runer"), "{stderr}");
}
