//! The room with scripts in the place of uv, and real files. What uv itself does is tested in
//! `tests/interop`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process_group};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// What a script does that makes an environment.
const MAKE: &str = "mkdir -p .venv/bin; touch .venv/bin/python";

/// A directory with a script in the place of uv. Each run of it adds a line to `runs`.
struct Bench {
    dir: TempDir,
    wanted: watch::Sender<Dirs>,
    ready: watch::Receiver<Dirs>,
    task: JoinHandle<()>,
}

impl Bench {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uv = dir.path().join("uv");
        write_script(&uv, script);
        let (wanted, seen) = watch::channel(Dirs::new());
        let syncer = Syncer { uv, ..Syncer::new(seen) };
        let ready = syncer.ready();
        Self { dir, wanted, ready, task: tokio::spawn(syncer.run()) }
    }

    /// Makes a project, and wants it.
    fn project(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("pyproject.toml"), "[project]").unwrap();
        self.wanted.send_modify(|wanted| {
            wanted.insert(dir.clone());
        });
        dir
    }

    async fn until(&mut self, dir: &Path, is: bool) {
        let ready = self.ready.wait_for(|ready| ready.contains(dir) == is);
        timeout(Duration::from_secs(20), ready).await.expect("in time").unwrap();
    }
}

fn write_script(path: &Path, script: &str) {
    let text = format!("#!/bin/sh\necho \"$*\" >> runs\n{script}\n");
    let next = path.with_extension("next");
    // Written by another process: while one of ours has it open for writing, a child that is
    // started at that moment inherits that, and it cannot be run.
    let mut tee = std::process::Command::new("tee")
        .arg(&next)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut tee.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(tee.wait().unwrap().success());
    fs::set_permissions(&next, PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(&next, path).unwrap();
}

fn runs(dir: &Path) -> usize {
    fs::read_to_string(dir.join("runs")).map_or(0, |runs| runs.lines().count())
}

/// Waits for the end of a writer to this FIFO's first line.
async fn line_of(fifo: PathBuf) -> String {
    let read = tokio::task::spawn_blocking(move || fs::read_to_string(fifo).unwrap());
    timeout(Duration::from_secs(20), read).await.expect("in time").unwrap()
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn each_project_is_synced_once_and_again_when_its_files_change() {
    let mut bench = Bench::new(MAKE);
    let (one, two) = (bench.project("one"), bench.project("two"));
    bench.until(&one, true).await;
    bench.until(&two, true).await;
    assert_eq!((runs(&one), runs(&two)), (1, 1));
    assert_eq!(fs::read_to_string(one.join("runs")).unwrap(), "sync --color never\n");

    for name in ["uv.lock", "pyproject.toml", ".python-version"] {
        let before = runs(&one);
        fs::write(one.join(name), "changed").unwrap();
        bench.until(&one, false).await;
        bench.until(&one, true).await;
        assert_eq!(runs(&one), before + 1, "{name}");
    }
    assert_eq!(runs(&two), 1);
}

#[tokio::test]
async fn an_environment_that_is_removed_is_made_again() {
    let mut bench = Bench::new(MAKE);
    let dir = bench.project("one");
    bench.until(&dir, true).await;
    fs::remove_dir_all(dir.join(".venv")).unwrap();
    bench.until(&dir, false).await;
    bench.until(&dir, true).await;
    assert!(dir.join(".venv/bin/python").exists());
}

#[tokio::test]
async fn a_failure_holds_nobody_else_up_and_is_over_when_the_files_change() {
    let mut bench = Bench::new(&format!("grep -q wrong pyproject.toml && exit 2; {MAKE}"));
    let bad = bench.dir.path().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("pyproject.toml"), "wrong").unwrap();
    bench.wanted.send_replace([bad.clone()].into());
    let good = bench.project("good");
    bench.until(&good, true).await;
    assert!(!bench.ready.borrow().contains(&bad));
    fs::write(bad.join("pyproject.toml"), "right").unwrap();
    bench.until(&bad, true).await;
}

#[tokio::test]
async fn after_a_failure_the_environment_that_was_there_goes_on_being_used() {
    let mut bench = Bench::new(&format!("grep -q wrong pyproject.toml && exit 2; {MAKE}"));
    let dir = bench.project("one");
    bench.until(&dir, true).await;
    fs::write(dir.join("pyproject.toml"), "wrong").unwrap();
    bench.until(&dir, false).await;
    bench.until(&dir, true).await;
    assert_eq!(runs(&dir), 2);
}

#[tokio::test]
async fn a_directory_becomes_a_project_when_it_has_the_file() {
    let mut bench = Bench::new(MAKE);
    let dir = bench.dir.path().join("later");
    bench.wanted.send_replace([dir.clone()].into());
    let other = bench.project("other");
    bench.until(&other, true).await;
    assert!(!bench.ready.borrow().contains(&dir));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("pyproject.toml"), "").unwrap();
    bench.until(&dir, true).await;
}

#[tokio::test]
async fn uv_and_what_it_started_end_with_the_syncer() {
    let bench = Bench::new("sleep 600 & echo $$ > pid; exec sleep 600");
    let project = bench.dir.path().join("one");
    fs::create_dir(&project).unwrap();
    fifo(&project.join("pid"));
    fs::write(project.join("pyproject.toml"), "").unwrap();
    bench.wanted.send_replace([project.clone()].into());
    let pid = line_of(project.join("pid")).await;
    let group = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    assert!(test_kill_process_group(group).is_ok());
    bench.task.abort();
    // A killed process that nobody reaped is still of the group: so only ever ask for live ones.
    let gone = async {
        while alive(group) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("killed with its group");
}

/// Whether any process of the group lives; zombies do not.
fn alive(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split(' ').collect();
        fields.get(3) == Some(&group.as_str()) && fields.get(1) != Some(&"Z")
    })
}

#[tokio::test]
async fn uv_is_quoted_to_a_length_and_its_leftovers_are_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let uv = dir.path().join("uv");
    write_script(&uv, "sleep 600 & echo $! > left\nseq 100 >&2; printf 'error: no\\n' >&2; exit 2");
    let failed =
        timeout(Duration::from_secs(20), uv::sync(&uv, dir.path())).await.expect("in time");
    let left: i32 = fs::read_to_string(dir.path().join("left")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(left).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    let error = failed.unwrap_err().to_string();
    assert!(error.starts_with("uv sync failed (exit status: 2) and said:\n62\n"), "{error}");
    assert!(error.ends_with("\n100\nerror: no"), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = uv::sync(&dir.path().join("uv"), dir.path()).await.unwrap_err().to_string();
    assert!(error.starts_with("uv is not in PATH: install it"), "{error}");
    write_script(&dir.path().join("uv"), "");
    let error = uv::sync(&dir.path().join("uv"), dir.path()).await.unwrap_err().to_string();
    assert!(error.starts_with("uv sync succeeded, but there is no "), "{error}");
}
