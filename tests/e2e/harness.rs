//! The real binary, started with a configuration of the test's, and what it says.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use runner::executor::local::survey::{Found, survey};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything that should happen may take before a test gives up. Generous: nothing is
/// measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the real binary that logs JSON lines.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
}

impl Process {
    pub(crate) fn start(args: &[&str], cwd: &Path) -> Self {
        Self::start_under(&[], args, cwd)
    }

    /// With these variables in its environment.
    pub(crate) fn start_under(env: &[(&str, &str)], args: &[&str], cwd: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(["--log-format", "json"]).args(args).current_dir(cwd);
        Self::run(command.envs(env.iter().copied()))
    }

    /// From this copy of the binary.
    pub(crate) fn start_program(program: &Path, args: &[&str], cwd: &Path) -> Self {
        Self::run(Command::new(program).args(["--log-format", "json"]).args(args).current_dir(cwd))
    }

    /// A runner whose command line is complete.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Said::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let to = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.lines.lock().unwrap().0.push(value);
                to.more.notify_all();
            }
            to.lines.lock().unwrap().1 = true;
            to.more.notify_all();
        });
        Self { child, said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It was not waited for, so the number is still its own.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How much it has said by now: what comes after this is news.
    pub(crate) fn mark(&self) -> usize {
        self.said.lines.lock().unwrap().0.len()
    }

    /// All that it has said, for the message of a test that fails.
    pub(crate) fn transcript(&self) -> String {
        text(&self.said.lines.lock().unwrap().0)
    }

    /// All that it has said with this `event`, after `mark`.
    pub(crate) fn all_after(&self, mark: usize, event: &str) -> Vec<Value> {
        let lines = self.said.lines.lock().unwrap();
        lines.0[mark..].iter().filter(|line| line["event"] == event).cloned().collect()
    }

    /// All that it has said after `mark`.
    pub(crate) fn after(&self, mark: usize) -> Vec<Value> {
        self.said.lines.lock().unwrap().0[mark..].to_vec()
    }

    /// Waits for the line after `mark` that fits.
    pub(crate) fn wait(&self, mark: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.said.lines.lock().unwrap();
        let mut looked = mark;
        loop {
            if let Some(line) = lines.0[looked..].iter().find(|line| fits(line)) {
                return line.clone();
            }
            looked = lines.0.len();
            let left = until.saturating_duration_since(Instant::now());
            let may_come = !left.is_zero() && !lines.1;
            assert!(may_come, "no {what}; it said:\n{}", text(&lines.0));
            lines = self.said.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for an event about an entity after `mark`.
    pub(crate) fn event(&self, mark: usize, event: &str, entity: &str) -> Value {
        self.wait(mark, &format!("{event} of {entity}"), |line| {
            line["event"] == event && line["entity"] == entity
        })
    }

    /// Waits for an event that is about no entity.
    pub(crate) fn event_of_all(&self, mark: usize, event: &str) -> Value {
        self.wait(mark, event, |line| line["event"] == event)
    }

    /// Waits until it has ended, and returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        let until = Instant::now() + PATIENCE;
        let mut lines = self.said.lines.lock().unwrap();
        while !lines.1 && Instant::now() < until {
            lines = self.said.more.wait_timeout(lines, PATIENCE).unwrap().0;
        }
        code
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

fn text(lines: &[Value]) -> String {
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + Duration::from_secs(20);
        while !self.has_ended() && Instant::now() < until {
            // The end of a test that failed: nothing to wait on but the process itself.
            thread::sleep(Duration::from_millis(20));
        }
        if !self.has_ended() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A runner that reconciles a configuration in a directory of its own.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) process: Process,
    pub(crate) dir: TempDir,
}

impl Runner {
    /// Why it cannot hold its agents in PID namespaces, if it cannot.
    pub(crate) fn refuses_pid_namespaces(&self) -> Option<String> {
        let told = self.process.wait(0, "what holds the agents", |line| {
            let refusal = line.as_str().is_some_and(|line| line.contains("no PID namespace"));
            refusal || line["event"] == "containment.pid_namespace"
        });
        told.as_str().map(str::to_owned)
    }

    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// With these variables in its environment.
    pub(crate) fn start_under(env: &[(&str, &str)], config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("runner.toml"), config).unwrap();
        let args = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];
        let process = Process::start_under(env, &args, dir.path());
        Self { process, dir }
    }

    pub(crate) fn start_with(config: &str, more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, more)
    }

    /// In a directory that may have the file already.
    pub(crate) fn start_at(dir: TempDir, config: &str) -> Self {
        Self::start_in(dir, config, &[])
    }

    fn start_in(dir: TempDir, config: &str, more: &[&str]) -> Self {
        let path = dir.path().join("runner.toml");
        if !path.exists() {
            fs::write(path, config).unwrap();
        }
        let mut args = vec!["reconcile", "--config", "runner.toml", "--state-dir", "state"];
        args.extend(more);
        let process = Process::start(&args, dir.path());
        Self { process, dir }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("runner.toml")
    }

    /// Writes the file anew, in place.
    pub(crate) fn save(&self, config: &str) {
        fs::write(self.config(), config).unwrap();
    }

    /// What an agent has written.
    pub(crate) fn log(&self, entity: &str) -> String {
        let path = self.dir.path().join("logs").join(format!("agent-{entity}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Its agents, as the processes themselves show it.
    pub(crate) fn agents(&self) -> Vec<Found> {
        // It may be a link, or not be there yet.
        let state = self.dir.path().join("state");
        let instance = state
            .canonicalize()
            .unwrap_or_else(|_| self.dir.path().canonicalize().unwrap().join("state"));
        survey(instance.to_str().unwrap(), &BTreeSet::new()).unwrap().found
    }

    /// The processes of its agents.
    pub(crate) fn agent_pids(&self) -> BTreeSet<u64> {
        self.agents().iter().map(|agent| u64::from(agent.identity.pid)).collect()
    }

    /// Starts another runner for the same configuration, as after the death of the first.
    pub(crate) fn start_again(&mut self) {
        let args = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];
        self.process = Process::start(&args, self.dir.path());
    }

    /// Ends the runner, and nobody else, without a word.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended();
    }

    /// Waits until each of these runs, and returns their processes in the same order.
    pub(crate) fn pids(&self, mark: usize, entities: &[&str]) -> Vec<u64> {
        let pid = |id: &&str| self.process.event(mark, "agent.started", id)["pid"].as_u64();
        entities.iter().map(|id| pid(id).unwrap()).collect()
    }

    /// Stops it in good order and checks that it left nobody behind.
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.ended(), Some(0));
        assert_eq!(self.agents(), []);
    }
}

/// A demo world in a process of its own, that can be killed and started again on the same port.
#[derive(Debug)]
pub(crate) struct World {
    process: Option<Process>,
    dir: TempDir,
    pub(crate) address: String,
}

impl World {
    pub(crate) fn start(definition: &str) -> Self {
        let mut world = Self::absent(definition);
        world.begin();
        world
    }

    /// A world that is not there yet, but whose address is.
    pub(crate) fn absent(definition: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::absent_at(&free.to_string(), definition)
    }

    /// The same at an address that nobody else uses.
    pub(crate) fn absent_at(address: &str, definition: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { process: None, dir, address: address.to_owned() };
        world.define(definition);
        world
    }

    /// What it is the next time that it begins.
    pub(crate) fn define(&self, definition: &str) {
        fs::write(self.dir.path().join("world.toml"), definition).unwrap();
    }

    pub(crate) fn begin(&mut self) {
        let args = ["world", "--config", "world.toml", "--listen", &self.address];
        let process = Process::start(&args, self.dir.path());
        process.wait(0, "open world", |line| {
            line["message"].as_str().is_some_and(|message| message.contains("open"))
        });
        self.process = Some(process);
    }

    /// Ends it without a word to anybody.
    pub(crate) fn kill(&mut self) {
        assert!(self.is_there());
        self.end();
    }

    /// The same, if it is there.
    pub(crate) fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.ended();
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.process.is_some()
    }
}

/// Waits for something that tells nobody when it happens.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where the process is that breaks rules on request.
pub(crate) fn misbehave() -> String {
    let runner = Path::new(env!("CARGO_BIN_EXE_runner"));
    let path = runner.with_file_name("examples").join("misbehave");
    assert!(path.exists(), "cargo test builds {}", path.display());
    path.to_str().unwrap().to_owned()
}

/// Entities of a demo world, as TOML.
pub(crate) fn entities<I: AsRef<str>>(ids: impl IntoIterator<Item = I>) -> String {
    let line =
        |id: I| format!("[[entities]]\nid = {:?}\ntype = \"forager\"\nx = 1\ny = 1\n", id.as_ref());
    ids.into_iter().map(line).collect()
}

pub(crate) fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// The embedded world with agents of two kinds, of which the special one has a version.
pub(crate) fn config_with_special(special: &[String], plain: &[String], version: usize) -> String {
    let typed =
        |kind: &str, ids: &[String]| entities(ids).replace("\"forager\"", &format!("{kind:?}"));
    format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{program:?}]\n\
         [agents.special]\ncommand = [{program:?}]\nargs = [\"--version\", \"{version}\"]\n\
         match = {{ types = [\"special\"] }}\n{}{}",
        typed("plain", plain),
        typed("special", special),
        program = misbehave(),
    )
}
