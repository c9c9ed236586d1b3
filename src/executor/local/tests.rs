//! Real processes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::getpgid;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::executor::misbehave::{DEADLINE, eventually, misbehave};
use crate::executor::{Identity, Resource, gate};
use crate::plan::{AgentSpec, Confinement, EntityId, Exit, Place};

mod adoption;
mod contained;
mod life;
mod limits;
mod refusals;
mod trees;

/// Who the processes are, as recorded.
#[derive(Debug, Default)]
struct Identities(Mutex<HashMap<RunId, Identity>>);

impl Record for Identities {
    fn identity(&self, run: RunId, identity: Identity) {
        self.0.lock().unwrap().insert(run, identity);
    }
}

/// Where gates come from.
fn births() -> Births {
    Births::new(vec![misbehave().to_str().unwrap().to_owned(), gate::VERB.to_owned()])
}

/// How a child of ours ended, once it has.
fn reaped(pid: Pid) -> WaitIdStatus {
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap().unwrap()
}

/// An executor, what it told, and a directory for everything.
struct Rig {
    local: Local,
    events: UnboundedReceiver<Event>,
    told: HashMap<RunId, Vec<Event>>,
    next: u64,
    temp: TempDir,
    identities: Arc<Identities>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Arc::default())
    }

    fn with(trees: Arc<Trees>) -> Self {
        let identities = Arc::new(Identities::default());
        let record = Arc::clone(&identities) as Arc<dyn Record>;
        let (local, events) = Local::new(Arc::new(births()), record, trees);
        let temp = tempfile::tempdir().unwrap();
        Self { local, events, told: HashMap::new(), next: 0, temp, identities }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn log(&self) -> String {
        self.text("logs/agent-alice.log")
    }

    /// The log without its heads.
    fn output(&self) -> String {
        let log = self.log();
        log.split_inclusive('\n').filter(|line| !line.starts_with("--- runner: ")).collect()
    }

    fn request(&mut self, argv: &[&str]) -> SpawnRequest {
        self.next += 1;
        SpawnRequest {
            run: RunId(self.next),
            entity: EntityId::new("alice").unwrap(),
            spec: AgentSpec {
                argv: argv.iter().map(ToString::to_string).collect(),
                env: [("AGENT".to_owned(), "yes".to_owned())].into_iter().collect(),
                cwd: self.temp.path().to_owned(),
                confinement: Confinement::default(),
                pod: None,
            },
            resource: Resource::default(),
            grace: Duration::from_secs(5),
            markers: [("MARKER".to_owned(), "yes".to_owned())].into(),
            log_dir: self.path("logs"),
            logs: logs::Policy { max_bytes: None, keep: 0, max_total_bytes: None },
            incarnation: 7,
            attempts: 0,
            restarts: 0,
            reason: "a test".to_owned(),
        }
    }

    fn spawn(&mut self, argv: &[&str]) -> RunId {
        let request = self.request(argv);
        let run = request.run;
        self.local.spawn(request);
        run
    }

    fn spawn_misbehaving(&mut self, args: &[&str]) -> RunId {
        let program = misbehave();
        let command: Vec<&str> = [program.to_str().unwrap()].iter().chain(args).copied().collect();
        self.spawn(&command)
    }

    /// Everything about the run up to the first event of this kind.
    async fn until(&mut self, run: RunId, is: impl Fn(&Event) -> bool) -> Vec<Event> {
        loop {
            let told = self.told.entry(run).or_default();
            if told.iter().any(&is) {
                return told.clone();
            }
            let event = timeout(DEADLINE, self.events.recv()).await.expect("no event").unwrap();
            self.told.entry(event.run()).or_default().push(event);
        }
    }

    async fn started(&mut self, run: RunId) -> u32 {
        let told = self.until(run, |event| matches!(event, Event::Started { .. })).await;
        let [Event::Started { place: Place::Process { pid }, .. }, ..] = told[..] else {
            panic!("{told:?}")
        };
        pid
    }

    /// The exit of a leader that left others behind.
    async fn left_behind(&mut self, run: RunId) -> Exit {
        let told = self.until(run, |event| matches!(event, Event::LeaderExited { .. })).await;
        let [_, Event::LeaderExited { exit, .. }, ..] = told[..] else { panic!("{told:?}") };
        exit
    }

    /// The exit of a run that is over, after all was told in order and nobody is left.
    async fn gone(&mut self, run: RunId) -> Exit {
        let pid = self.started(run).await;
        let told = self.until(run, |event| matches!(event, Event::Gone { .. })).await;
        let Some(&Event::Gone { exit, .. }) = told.last() else { panic!("{told:?}") };
        let (started, gone) =
            (Event::Started { run, place: Place::Process { pid } }, Event::Gone { run, exit });
        let left = Event::LeaderExited { run, exit };
        let alone = [started.clone(), gone.clone()];
        assert!(told == alone || told == [started, left, gone], "{told:?}");
        assert_eq!(members(pid), 0, "survivors of {run}");
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let child = waitid(WaitId::Pid(raw(pid)), options);
        assert_eq!(child.err(), Some(rustix::io::Errno::CHILD), "{run} was not reaped");
        assert!(!self.local.shared.runs().as_ref().unwrap().contains_key(&run));
        exit
    }

    async fn refused(&mut self, request: SpawnRequest) -> String {
        let run = request.run;
        self.local.spawn(request);
        let told = self.until(run, |_| true).await;
        let [Event::SpawnFailed { error, .. }] = &told[..] else { panic!("{told:?}") };
        error.replace(self.temp.path().to_str().unwrap(), "TEMP")
    }

    /// Waits until the file has a line.
    async fn wait_for(&self, file: &str) {
        let path = self.path(file);
        let name = file.to_owned();
        let wait = move || eventually(&name, || has_line(&path));
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

fn has_line(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'))
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn group_of(pid: i32) -> Option<i32> {
    getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}

/// How many processes of the group live.
fn members(group: u32) -> usize {
    let live = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        state.is_some_and(|state| state != "Z")
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|&pid| group_of(pid) == group.try_into().ok())
        .filter(live)
        .count()
}
