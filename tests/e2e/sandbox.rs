//! Agents in a sandbox that try to leave it, under the real binary.

#![expect(clippy::print_stderr, reason = "what is not tested is to be seen")]

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use runner::executor::gate::sandbox::{holds_signals, missing};
use tempfile::TempDir;

use super::harness::{Runner, entities, eventually, misbehave};

/// Whether nothing here can be held to a sandbox, which is said aloud.
fn not_here() -> bool {
    if let Some(why) = missing() {
        eprintln!("NOT TESTED: agents that try to leave their sandbox: {why}");
        return true;
    }
    false
}

/// What programs need to run at all, of what this machine has.
fn system() -> Vec<String> {
    let all = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"];
    let there = all.into_iter().filter(|path| Path::new(path).exists());
    there.map(str::to_owned).chain([misbehave()]).collect()
}

/// Alice in a sandbox, who does this; and Bob without one, of the same user.
fn config(sandbox: &str, alice: &[&str]) -> String {
    let program = misbehave();
    let args: Vec<_> = alice.iter().map(|word| format!("{word:?}")).collect();
    format!(
        "[runner]\nserver = \"embedded\"\nauto_discover = false\nshutdown_grace_ms = 500\n\
         restart = \"never\"\n[agents.alice]\ncommand = [{program:?}, {}]\n{sandbox}\n\
         [agents.bob]\ncommand = [{program:?}]\n{}",
        args.join(", "),
        entities(["alice", "bob"]),
    )
}

fn sandbox(read: &[String], write: &[&str]) -> String {
    format!("sandbox = {{ read = {read:?}, write = {write:?} }}")
}

/// Alice is told to try these, of which the kernel refuses all but the first.
fn only_the_first_is_done(runner: &Runner, attempts: [&str; 3]) {
    let attempts = attempts.map(str::to_owned);
    fs::write(runner.dir.path().join("box/attempts"), attempts.join("\n")).unwrap();
    fs::write(runner.dir.path().join("box/go"), "").unwrap();
    let outcomes = outcomes(runner, &attempts, 1);
    assert!(outcomes[0][0].starts_with("done"), "{outcomes:?}");
    assert!(outcomes[1][0].contains("(os error 13)"), "{outcomes:?}");
    assert!(outcomes[2][0].contains("(os error 13)"), "{outcomes:?}");
}

/// A directory with what is to be protected, and `box`, which is Alice's.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("box")).unwrap();
    fs::create_dir_all(root.join("shown")).unwrap();
    fs::write(root.join("shown/text"), "read me").unwrap();
    fs::write(root.join("secret"), "s3cret").unwrap();
    fs::write(root.join("token"), "t0ken").unwrap();
    fs::set_permissions(root.join("token"), Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("box/own"), "own").unwrap();
    symlink("../secret", root.join("box/way-out")).unwrap();
    symlink("/", root.join("box/root")).unwrap();
    dir
}

/// What came of each attempt, of every process that made it, once all have.
fn outcomes(runner: &Runner, attempts: &[String], processes: usize) -> Vec<Vec<String>> {
    let of = |attempt: &String| -> Vec<String> {
        let log = runner.log("alice");
        let begin = format!("attempt {attempt}: ");
        let told = log.lines().filter_map(|line| Some(line.strip_prefix(&begin)?.to_owned()));
        told.collect()
    };
    eventually("all attempts", || attempts.iter().all(|it| of(it).len() == processes));
    attempts.iter().map(of).collect()
}

/// Alice, her child, and its child in a session of its own, try all of it.
fn try_all(runner: &Runner, attempts: &[String]) -> Vec<Vec<String>> {
    let file = runner.dir.path().join("box/attempts");
    fs::write(file, attempts.join("\n") + "\n").unwrap();
    fs::write(runner.dir.path().join("box/go"), "").unwrap();
    outcomes(runner, attempts, 3)
}

const ALICE: [&str; 11] = [
    "--when",
    "box/go",
    "--attempts",
    "box/attempts",
    "--fork",
    "1",
    "--setsid-child",
    "--grandchild-when",
    "box/go",
    "--grandchild-attempts",
    "box/attempts",
];

#[test]
fn an_agent_and_its_children_cannot_leave_their_sandbox() {
    if not_here() {
        return;
    }
    let read: Vec<_> = system().into_iter().chain(["shown".to_owned()]).collect();
    let runner = Runner::start_at(place(), &config(&sandbox(&read, &["box"]), &ALICE));
    let pids = runner.pids(0, &["alice", "bob"]);
    let root = runner.dir.path().display().to_string();
    let attempts = [
        "read /etc/passwd".to_owned(),
        "read /proc/1/root/etc/passwd".to_owned(),
        format!("read /proc/{}/environ", pids[1]),
        "read /proc/self/environ".to_owned(),
        "read secret".to_owned(),
        "read token".to_owned(),
        "read runner.toml".to_owned(),
        format!("read {root}/state/journal"),
        format!("list {root}/state"),
        format!("list {root}"),
        "append logs/agent-bob.log".to_owned(),
        "read box/../secret".to_owned(),
        "read shown/../secret".to_owned(),
        "read box/way-out".to_owned(),
        "read box/root/etc/passwd".to_owned(),
        "write shown/text".to_owned(),
        "append shown/text".to_owned(),
        "truncate shown/text".to_owned(),
        "truncate secret".to_owned(),
        "write outside".to_owned(),
        "write box/way-out".to_owned(),
        "mkdir outside".to_owned(),
        "fifo outside".to_owned(),
        "remove secret".to_owned(),
        "remove shown/text".to_owned(),
        "link secret box/hard".to_owned(),
        "link box/own outside".to_owned(),
        "rename secret box/stolen".to_owned(),
        "rename box/own outside".to_owned(),
        "rename box/own shown/own".to_owned(),
        "symlink secret outside".to_owned(),
        format!("trace {}", pids[1]),
        format!("trace {}", runner.process.id()),
    ];
    for (attempt, outcomes) in attempts.iter().zip(try_all(&runner, &attempts)) {
        for outcome in outcomes {
            let refused = ["(os error 13)", "(os error 18)", "EPERM", "(os error 1)"];
            let refused = refused.iter().any(|error| outcome.contains(error));
            assert!(refused, "{attempt}: {outcome}");
        }
    }
    let text = |name: &str| fs::read_to_string(runner.dir.path().join(name)).unwrap();
    assert_eq!((text("secret"), text("shown/text")), ("s3cret".into(), "read me".into()));
    assert!(!runner.dir.path().join("outside").exists());
    // It can still be stopped, with all that it started.
    runner.stop();
}

#[test]
fn an_agent_may_do_in_its_sandbox_what_it_says() {
    if not_here() {
        return;
    }
    let read: Vec<_> = system().into_iter().chain(["shown".to_owned()]).collect();
    let alice = ["--when", "box/go", "--attempts", "box/attempts"];
    let runner = Runner::start_at(place(), &config(&sandbox(&read, &["box"]), &alice));
    runner.pids(0, &["alice"]);
    let attempts = [
        "read shown/text",
        "list shown",
        "run /bin/true",
        "read box/own",
        "list box",
        "write box/new",
        "append box/new",
        "truncate box/new",
        "mkdir box/dir",
        "write box/dir/file",
        "fifo box/fifo",
        "link box/new box/dir/hard",
        "rename box/new box/dir/moved",
        "symlink x box/link",
        "remove box/dir/hard",
        "read box/../shown/text",
        "read /dev/null",
        "read /dev/urandom",
        "append /dev/null",
        "read /dev/zero",
    ]
    .map(str::to_owned);
    fs::write(runner.dir.path().join("box/attempts"), attempts.join("\n")).unwrap();
    fs::write(runner.dir.path().join("box/go"), "").unwrap();
    for (attempt, outcomes) in attempts.iter().zip(outcomes(&runner, &attempts, 1)) {
        assert!(outcomes[0].starts_with("done"), "{attempt}: {outcomes:?}");
    }
    runner.stop();
}

#[test]
fn an_agent_in_a_sandbox_signals_and_reaches_nobody_outside() {
    if not_here() {
        return;
    }
    if !holds_signals() {
        eprintln!("NOT TESTED: signals out of a sandbox, which need Linux 6.12");
        return;
    }
    let runner = Runner::start_at(place(), &config(&sandbox(&system(), &["box"]), &ALICE));
    let pids = runner.pids(0, &["alice", "bob"]);
    let name = format!("runner-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let outside = [
        format!("signal {}", pids[1]),
        format!("signal {}", runner.process.id()),
        format!("signal {}", std::process::id()),
        format!("abstract {name}"),
    ];
    let inside = format!("signal {}", pids[0]);
    let all: Vec<_> = outside.iter().cloned().chain([inside]).collect();
    let mut told = try_all(&runner, &all);
    let own = told.pop().unwrap();
    for (attempt, outcomes) in outside.iter().zip(told) {
        assert!(outcomes.iter().all(|it| it.contains("(os error 1)")), "{attempt}: {outcomes:?}");
    }
    assert!(own.iter().all(|it| it.starts_with("done")), "its own are its to signal: {own:?}");
    runner.stop();
}

#[test]
fn an_agent_of_another_user_is_in_its_sandbox_too() {
    if not_here() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: a sandbox of an agent of another user, as only root can start one");
        return;
    }
    let dir = place();
    // The path to its program may be closed to others: it is let in by nobody but the kernel.
    let program = dir.path().join("program");
    fs::copy(misbehave(), &program).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(dir.path().join("box"), Some(65_534), Some(65_534)).unwrap();
    let read: Vec<_> = system().into_iter().chain(["program".to_owned()]).collect();
    let user = "user = \"65534\"\ngroup = \"65534\"\n";
    let alice = ["--when", "box/go", "--attempts", "box/attempts"];
    let config = config(&format!("{user}{}", sandbox(&read, &["box"])), &alice).replacen(
        &misbehave(),
        program.to_str().unwrap(),
        1,
    );
    let runner = Runner::start_at(dir, &config);
    runner.pids(0, &["alice"]);
    only_the_first_is_done(&runner, ["write box/new", "read /etc/passwd", "read shown/text"]);
    runner.stop();
}

#[test]
fn an_agent_in_a_pid_namespace_is_in_its_sandbox_too() {
    if not_here() {
        return;
    }
    let alice = ["--when", "box/go", "--attempts", "box/attempts"];
    let config = config(&sandbox(&system(), &["box"]), &alice).replacen(
        "[runner]",
        "[runner]\ncontainment = \"pid-namespace\"",
        1,
    );
    let runner = Runner::start_at(place(), &config);
    if let Some(refusal) = runner.refuses_pid_namespaces() {
        eprintln!("NOT TESTED: {refusal}");
        return;
    }
    runner.pids(0, &["alice"]);
    only_the_first_is_done(&runner, ["write box/new", "read secret", "read /proc/1/environ"]);
    runner.stop();
}

#[test]
fn a_changed_sandbox_restarts_exactly_its_agents() {
    if not_here() {
        return;
    }
    let file = |write: &str| config(&sandbox(&system(), &[write]), &[]);
    let runner = Runner::start_at(place(), &file("box"));
    let [_, bob] = runner.pids(0, &["alice", "bob"])[..] else { unreachable!() };
    let mark = runner.process.mark();
    runner.save(&file("shown"));
    assert_eq!(runner.process.event(mark, "agent.stopping", "alice")["reason"], "sandbox changed");
    runner.pids(mark, &["alice"]);
    assert!(runner.agent_pids().contains(&bob));
    runner.stop();
}

#[test]
fn a_sandbox_that_cannot_be_is_told_with_its_path() {
    if not_here() {
        return;
    }
    let mut read = system();
    read.push("no/such/place".to_owned());
    let runner = Runner::start_at(place(), &config(&sandbox(&read, &["box"]), &[]));
    let line = runner.process.event(0, "agent.not_started", "alice");
    let path = runner.dir.path().join("no/such/place");
    assert!(line.to_string().contains(path.to_str().unwrap()), "{line}");
    let mark = runner.process.mark();
    // One that keeps it from its own program is told as that.
    runner.save(&config(&sandbox(&["shown".to_owned()], &[]), &["--again"]));
    let line = runner.process.event(mark, "agent.not_started", "alice");
    assert!(line.to_string().contains("its sandbox may not let it run"), "{line}");
    runner.pids(0, &["bob"]);
    runner.stop();
}

#[test]
fn each_entity_has_a_place_of_its_own() {
    if not_here() {
        return;
    }
    let dir = place();
    for id in ["alice", "bob"] {
        fs::create_dir(dir.path().join("box").join(id)).unwrap();
    }
    let program = misbehave();
    let config = format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{program:?}, \"--when\", \
         \"shown/go\", \"--attempts\", \"shown/attempts\"]\nsandbox = {{ read = {:?}, write = \
         [\"box/{{entity_id}}\"] }}\n{}",
        system().into_iter().chain(["shown".to_owned()]).collect::<Vec<_>>(),
        entities(["alice", "bob"]),
    );
    let runner = Runner::start_at(dir, &config);
    let attempts = ["write box/alice/new", "write box/bob/new"].map(str::to_owned);
    fs::write(runner.dir.path().join("shown/attempts"), attempts.join("\n")).unwrap();
    fs::write(runner.dir.path().join("shown/go"), "").unwrap();
    let outcomes = outcomes(&runner, &attempts, 1);
    assert!(outcomes[0][0].starts_with("done"), "{outcomes:?}");
    assert!(outcomes[1][0].contains("(os error 13)"), "{outcomes:?}");
    eventually("bob's file", || runner.dir.path().join("box/bob/new").exists());
    runner.stop();
}
