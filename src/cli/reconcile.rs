//! `runner reconcile`: the main job.

use std::future::pending;
use std::io;
use std::path::{PathBuf, absolute};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nix::sys::prctl::set_dumpable;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::console::Console;
use super::file::{ConfigFile, Loaded};
use super::manager::Manager;
use super::outlets::Outlets;
use super::replace::Successor;
use super::settings::{Settler, containment, instance, rotation, with_absolute_cwds};
use super::signals::{self, Signals, Told};
use super::{Ending, fail, limits, live, runtime, waiting};
use crate::clock::Clock;
use crate::config::{
    self, Config, ExecutorKind, LoadError, OnExit, Overrides, Reload, Server, Watch,
};
use crate::control::preview::Draft;
use crate::control::{self, Ask, Instance};
use crate::discovery;
use crate::events::{Events, Recorder};
use crate::executor::gate::{Births, VERB};
use crate::executor::kubernetes::{Access, Kubernetes};
use crate::executor::local::survey::survey;
use crate::executor::{Event, Executor, Local, Record, Trees, logs};
use crate::metrics::{Exporter, Meter};
use crate::plan::{Agent, Enforceable, Intent};
use crate::project::{Dirs, Syncer};
use crate::proto::control as pb;
use crate::reconcile::{Inheritance, Reconciler, Request, Settings, Sources};
use crate::state::{Directory, DirectoryError, Journal, Memory, restore, restore_pods};
use crate::traces::Traces;

/// Keep one agent for each entity, until told to stop.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner reconcile --config configs/demo.toml\n\n\
                  The file may be edited while this runs; SIGHUP reads it now. SIGINT or SIGTERM \
                  stops all agents and ends with 0; a second one kills them. SIGUSR2 lets the \
                  program that is on the disk by now take over, without a restart of any agent.")]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Only say whether this could begin.
    #[arg(long, hide = true)]
    check: bool,
}

/// How the loop was left.
enum Left {
    /// For good.
    Ended,
    /// For a successor in this very process.
    Replaced,
}

/// What there is before a runner, and stays when it is replaced by itself.
struct About<'a> {
    successor: &'a Successor,
    events: &'a Events,
    meter: &'a Meter,
    traces: Option<&'a Traces>,
    console: &'a Console,
}

/// How long starts that are under way may take before a successor takes over. What is not done by
/// then is to it what it would be after a crash.
const LAST_STARTS: Duration = Duration::from_secs(12);

pub(super) fn run(
    args: &Args,
    recorder: &Recorder,
    (meter, traces): (&Meter, Option<&Traces>),
    console: &Console,
) -> Ending {
    let loaded = match args.file.clone().load() {
        Ok(loaded) => loaded,
        Err(ending) => return ending,
    };
    if args.check {
        return Ending::Done;
    }
    let directory = match loaded.state_dir().map(|path| Directory::lock(&path)) {
        Ok(Ok(directory)) => directory,
        Ok(Err(error @ DirectoryError::Held { .. })) => {
            fail("cannot reconcile", &error);
            return Ending::Held;
        }
        Ok(Err(error)) => return fail("cannot reconcile", &error),
        Err(error) => return fail("no state directory", &error),
    };
    // Before there is any thread that could take them.
    if let Err(error) = signals::block(console.has_line()) {
        return fail("cannot reconcile", &error);
    }
    let max_bytes = loaded.config.events_max_bytes;
    let events = Events::keep(recorder, directory.path(), max_bytes);
    let begun = events.and_then(|events| Ok((events, Successor::new()?)));
    let over = begun.and_then(|(events, successor)| {
        let about = About { successor: &successor, events: &events, meter, traces, console };
        let over = reconcile_on(&args.file, loaded, &directory, &about);
        events.flush();
        over
    });
    match over {
        Ok(()) => Ending::Done,
        Err(error) => fail("cannot reconcile", &error),
    }
}

/// Reconciles until that is over. A successor that cannot take over after all is replaced by
/// ourselves: what it would have taken up is taken up here.
fn reconcile_on(
    file: &ConfigFile,
    mut loaded: Loaded,
    directory: &Directory,
    about: &About<'_>,
) -> io::Result<()> {
    loop {
        let exporting = about.traces.and_then(|traces| traces.export(&loaded.name()));
        let runtime = runtime()?;
        match runtime.block_on(reconcile(loaded.clone(), directory, about))? {
            Left::Ended => return Ok(()),
            Left::Replaced => {}
        }
        runtime.shutdown_timeout(LAST_STARTS);
        drop(exporting);
        about.events.flush();
        directory.hand_on(true)?;
        let error = about.successor.take_over();
        directory.hand_on(false)?;
        error!(event = "runner.kept", %error, "cannot be replaced, and goes on");
        loaded = file.clone().load().unwrap_or(loaded);
    }
}

async fn reconcile(loaded: Loaded, directory: &Directory, about: &About<'_>) -> io::Result<Left> {
    // Its memory and its environment may hold what no agent of the same user is to read. An exec
    // undoes it, so agents are as they would be.
    if let Err(error) = set_dumpable(false) {
        warn!(%error, "other processes of this user may read the runner's memory");
    }
    let signals = Signals::new(about.console.has_line())?;
    let name = loaded.name();
    let executor = loaded.config.executor.clone();
    let outlets = Outlets::new(&loaded.config, &name, directory.path());
    // Who reads that it is started may ask it.
    let socket = control::listen(directory.path());
    info!(event = "runner.started", config = %loaded.path.display(), pid = std::process::id(), "started");
    let (requests, requests_seen) = mpsc::unbounded_channel();
    let mut exporter = outlets.exporter(about.meter, &requests);
    exporter.settle().await;
    let clock = Clock::new();
    let journal = open_journal(directory)?;
    let begun = Begun {
        directory,
        about,
        loaded,
        name,
        signals,
        outlets,
        exporter,
        socket,
        requests: (requests, requests_seen),
        clock,
        journal,
    };
    match executor {
        ExecutorKind::Local => Box::pin(begun.on_this_machine()).await,
        ExecutorKind::Kubernetes(cluster) => Box::pin(begun.in_cluster(&cluster)).await,
    }
}

/// A runner that has begun, and is to know yet who is there.
struct Begun<'a> {
    directory: &'a Directory,
    about: &'a About<'a>,
    loaded: Loaded,
    name: String,
    signals: Signals,
    outlets: Outlets,
    exporter: Exporter,
    socket: io::Result<control::Socket>,
    requests: (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>),
    clock: Clock,
    journal: Arc<Journal>,
}

impl Begun<'_> {
    /// Agents are processes beside this one.
    async fn on_this_machine(mut self) -> io::Result<Left> {
        let memory = self.journal.memory();
        of_one_kind(&memory, false)?;
        let survey = survey(&instance(self.directory.path()), &memory.processes())?;
        let inheritance = restore(memory, survey, self.clock.now());
        let births = Arc::new(births());
        let trees = hold(self.directory, &self.loaded.config, &inheritance, &births)?;
        self.loaded.overrides.enforceable = trees.enforceable();
        limits::tell_missing(&self.loaded.config, &self.loaded.overrides.enforceable);
        let record = Arc::clone(&self.journal) as Arc<dyn Record>;
        let (executor, happenings) = Local::new(births, record, Arc::clone(&trees));
        executor.reap_orphans()?;
        let left = self.run((executor, happenings), inheritance).await?;
        if let Left::Ended = left {
            trees.close();
        }
        Ok(left)
    }

    /// Agents are pods of a cluster.
    async fn in_cluster(mut self, cluster: &config::Cluster) -> io::Result<Left> {
        let memory = self.journal.memory();
        of_one_kind(&memory, true)?;
        let access = Access {
            context: cluster.context.clone(),
            namespace: cluster.namespace.clone(),
            qps: cluster.qps,
            burst: cluster.burst,
        };
        let reached = tokio::select! {
            reached = super::cluster::reach(&access, &self.name) => reached,
            told = told_to_stop(&mut self.signals) => {
                told?;
                info!(event = "runner.stopped", "the agents, if there are any, run on");
                return Ok(Left::Ended);
            }
        };
        let (cluster, found) = reached.map_err(io::Error::other)?;
        let inheritance = restore_pods(memory, found, self.clock.now());
        let executor = Kubernetes::new(cluster);
        self.run(executor, inheritance).await
    }

    /// Reconciles until that is over.
    async fn run<E: Executor>(
        self,
        (executor, happenings): (E, mpsc::UnboundedReceiver<Event>),
        inheritance: Inheritance<E::Identity>,
    ) -> io::Result<Left> {
        let Self { directory, about, name, signals, outlets, exporter, clock, journal, .. } = self;
        let &About { successor, events, console, .. } = about;
        let Loaded { path, mut overrides, config, bytes } = self.loaded;
        let mut hooks = outlets.hooks(events);
        let (requests, requests_seen) = self.requests;
        let enforceable = overrides.enforceable.clone();
        // From here on a file that says otherwise is refused.
        overrides.running = Some(config.executor.clone());
        let mut settler = Settler::new(directory.path())?;
        let (settings, asked) = settler.settle(&config).await?;
        let (rotation, rotation_seen) = watch::channel(rotation(&settings));
        let (projects, projects_seen) = watch::channel(settings.rules.projects());
        let (settings, settings_seen) = watch::channel(Arc::new(settings));
        let (asked, asked_seen) = watch::channel(asked);
        let (intent, intent_seen) = watch::channel(Intent::Run);

        let world = discovery::start(asked_seen, clock);
        let rotator = logs::Rotator::new(rotation_seen, clock);
        let syncer = Syncer::new(projects_seen);
        let watch = config::watch(&path, overrides.clone(), bytes)?;
        let (asks, asks_seen) = mpsc::unbounded_channel();
        let sources = Sources {
            settings: settings_seen,
            intent: intent_seen,
            view: world.view(),
            synced: syncer.ready(),
            events: happenings,
            requests: requests_seen,
        };
        let effects = (executor, world, (Arc::clone(&journal), events.clone()));
        let mut reconciler = Reconciler::new(effects, sources, clock).resume(inheritance);
        let instance = Instance {
            name,
            config: absolute(&path).unwrap_or_else(|_| path.clone()),
            state_dir: directory.path().to_owned(),
            requests,
            changes: reconciler.changes(),
            events: events.clone(),
            asks,
        };
        let manager = Manager::from_env();
        let intent_told = intent.subscribe();
        let operator = Operator {
            signals,
            console,
            path,
            overrides,
            manager: &manager,
            asks: asks_seen,
            reloading: Vec::new(),
            events: events.clone(),
            successor,
            intent,
            watch,
            settler,
            settings,
            asked,
            rotation,
            projects,
            outlets,
            enforceable,
            config,
        };

        let intent = tokio::select! {
            intent = reconciler.run() => intent,
            replaced = operator.run() => {
                replaced?;
                reconciler.give_up();
                info!(event = "runner.replaced", "the program on the disk takes over");
                return Ok(Left::Replaced);
            }
            () = serve(self.socket, instance.clone()) => Intent::Stop,
            () = tell(&manager, console, (&instance, &intent_told)) => Intent::Stop,
            () = rotator.run() => Intent::Stop,
            () = syncer.run() => Intent::Stop,
            () = exporter.run() => Intent::Stop,
            () = hooks.run() => Intent::Stop,
            () = Arc::clone(&journal).mend() => Intent::Stop,
        };
        control::close(directory.path());
        end(intent, &journal);
        hooks.finish().await;
        Ok(Left::Ended)
    }
}

/// Agents that another executor has started would not be found by this one, and so be doubled.
fn of_one_kind(memory: &Memory, pods: bool) -> io::Result<()> {
    let is_other = |agent: &&Agent| agent.is_live() && agent.spec.pod.is_some() != pods;
    let others = memory.agents.values().filter(is_other).count();
    if others == 0 {
        return Ok(());
    }
    let (there, before) =
        if pods { ("processes of this machine", "local") } else { ("pods", "kubernetes") };
    Err(io::Error::other(format!(
        "{others} agents of this instance are {there}; write `executor = \"{before}\"`, stop it with \
         `runner stop`, and start it with the other executor then"
    )))
}

/// Returns when the user wants it to end, before there is anything to end.
async fn told_to_stop(signals: &mut Signals) -> io::Result<()> {
    loop {
        match signals.next().await? {
            Told::Stop => return Ok(()),
            Told::Reload | Told::Replace | Told::Suspend | Told::Redraw => {}
        }
    }
}

/// Says how it ended, and forgets whom nobody is to take up.
fn end(intent: Intent, journal: &Journal) {
    if intent == Intent::Leave {
        info!(event = "runner.stopped", "the agents run on");
    } else {
        journal.clear();
        info!(event = "runner.stopped", "no agent is left");
    }
}

/// Tells the service manager, the terminal and the log how the instance fares, as far as each is
/// there and wants to know. Never ends.
async fn tell(
    manager: &Manager,
    console: &Console,
    (instance, intent): (&Instance, &watch::Receiver<Intent>),
) {
    tokio::join!(
        manager.run(instance, intent.clone()),
        live::run(console, instance),
        waiting::run(instance, intent.clone()),
    );
}

fn open_journal(directory: &Directory) -> io::Result<Arc<Journal>> {
    let (journal, damaged) = Journal::open(directory.path())?;
    if damaged > 0 {
        warn!(event = "journal.damaged", lines = damaged, "lines of the journal are damaged");
    }
    Ok(Arc::new(journal))
}

/// What holds the trees of agents, after those that belong to no agent were ended.
fn hold(
    directory: &Directory,
    config: &Config,
    inheritance: &Inheritance,
    births: &Births,
) -> io::Result<Arc<Trees>> {
    let instance = instance(directory.path());
    let containment = containment(config.containment);
    let wanted = limits::wanted(config);
    let trees = Trees::probe_for(&instance, containment, births, &wanted).map_err(|why| {
        let help = "write `containment = \"auto\"` to run agents all the same";
        io::Error::other(format!("{why}; {help}"))
    })?;
    trees.tell();
    trees.sweep(&inheritance.adoptions.values().map(|adopted| adopted.run).collect());
    Ok(Arc::new(trees))
}

/// Gates are born by this very program, even if another one is on the disk by now.
pub(super) fn births() -> Births {
    Births::new(vec!["/proc/self/exe".to_owned(), VERB.to_owned()])
}

/// Serves the control API. Agents are looked after without it too, if it has to be.
async fn serve(socket: io::Result<control::Socket>, instance: Instance) {
    let served = match socket {
        Ok(socket) => control::serve(socket, instance).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        error!(event = "control.failed", %error, "the control API is not served");
    }
    pending::<()>().await;
}

/// Brings signals, orders and edited files to the loop.
struct Operator<'a> {
    signals: Signals,
    console: &'a Console,
    path: PathBuf,
    overrides: Overrides,
    manager: &'a Manager,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// Who waits for what comes of the file.
    reloading: Vec<oneshot::Sender<pb::ReloadResponse>>,
    events: Events,
    successor: &'a Successor,
    intent: watch::Sender<Intent>,
    watch: Watch,
    settler: Settler,
    settings: watch::Sender<Arc<Settings>>,
    asked: watch::Sender<discovery::Settings>,
    rotation: watch::Sender<logs::Settings>,
    projects: watch::Sender<Dirs>,
    outlets: Outlets,
    /// Which limits are.
    enforceable: Enforceable,
    /// The one in force.
    config: Arc<Config>,
}

impl Operator<'_> {
    /// Runs until a successor can take over.
    async fn run(mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                told = self.signals.next() => match told? {
                    Told::Stop => self.stop(),
                    Told::Reload => self.reload_now(),
                    Told::Replace if self.can_be_replaced().await => return Ok(()),
                    Told::Replace => {}
                    Told::Suspend => self.console.aside(signals::suspend)?,
                    Told::Redraw => self.console.redraw(),
                },
                Some(ask) = self.asks.recv() => self.heed(ask),
                Some(reload) = self.watch.reloads.recv() => self.reload(reload).await,
            }
        }
    }

    fn heed(&mut self, ask: Ask) {
        match ask {
            Ask::Draft { config, done } => {
                // Who asked may have gone away.
                let _ = done.send(self.draft(config));
            }
            Ask::Reload(done) => {
                self.reloading.push(done);
                self.reload_now();
            }
            Ask::Stop { leave_agents } => self.intent.send_modify(|intent| {
                *intent = match (*intent, leave_agents) {
                    (Intent::Run, true) => Intent::Leave,
                    (Intent::Run, false) => Intent::Stop,
                    (already, _) => already,
                };
            }),
        }
    }

    /// What this would come to, in the place of the file.
    fn draft(&self, config: Vec<u8>) -> Result<Draft, String> {
        let read = config::read_again(&self.path, config, &self.overrides);
        let config = read.map(|loaded| loaded.config).map_err(|error| match error {
            LoadError::Rejected(mistakes) => mistakes.render(false),
            LoadError::Unreadable { .. } => error.to_string(),
        })?;
        let server = match &config.server {
            Server::Address(address) => Some(address.clone()),
            Server::Embedded(_) => None,
        };
        Ok(Draft { rules: with_absolute_cwds(&config), server })
    }

    fn reload_now(&self) {
        self.manager.reloading();
        self.watch.reloader.reload_now();
    }

    /// Tells those who asked for it what came of the file.
    fn reloaded(&mut self, outcome: &str, message: &str) {
        for waiting in self.reloading.drain(..) {
            // Who asked may have gone away.
            let _ = waiting.send(pb::ReloadResponse {
                outcome: outcome.to_owned(),
                config_generation: self.settings.borrow().generation,
                message: message.to_owned(),
            });
        }
    }

    /// Whether a successor could do better than go on with the same.
    async fn can_be_replaced(&self) -> bool {
        if *self.intent.borrow() != Intent::Run {
            warn!(event = "runner.kept", reason = "it is about to end", "is not replaced");
            return false;
        }
        let checked = self.successor.check().await;
        if let Err(reason) = &checked {
            error!(event = "runner.kept", %reason, "is not replaced, and goes on");
        }
        checked.is_ok()
    }

    /// The first time in good order, the second time at once.
    fn stop(&self) {
        let on_exit = self.config.on_exit;
        self.intent.send_modify(|intent| {
            *intent = match (*intent, on_exit) {
                (Intent::Run, OnExit::Stop) => Intent::Stop,
                (Intent::Run | Intent::Leave, OnExit::Leave) => Intent::Leave,
                (Intent::Stop | Intent::Kill | Intent::Leave, _) => Intent::Kill,
            };
        });
    }

    async fn reload(&mut self, reload: Reload) {
        self.manager.reloading();
        match reload {
            Reload::Applied(config) if config == self.config => {
                info!(event = "config.unchanged", "the file says what it said before");
                self.reloaded("unchanged", "");
            }
            Reload::Applied(config) => self.apply(config).await,
            Reload::Rejected(mistakes) => {
                let generation = self.settings.borrow().generation;
                error!(
                    event = "config.rejected",
                    mistakes = mistakes.len(),
                    "the file is wrong; configuration #{generation} stays in force\n{}",
                    mistakes.render(false)
                );
                self.reloaded("rejected", &mistakes.render(false));
            }
            Reload::Unreadable(reason) => {
                let generation = self.settings.borrow().generation;
                warn!(
                    event = "config.unreadable",
                    %reason,
                    "the file cannot be read; configuration #{generation} stays in force"
                );
                self.reloaded("unreadable", &reason.to_string());
            }
        }
        self.manager.reloaded();
    }

    async fn apply(&mut self, config: Arc<Config>) {
        match self.settler.settle(&config).await {
            Ok((settings, asked)) => {
                info!(
                    event = "config.applied",
                    generation = settings.generation,
                    templates = settings.rules.templates.len(),
                    "the file was read"
                );
                limits::tell_missing(&config, &self.enforceable);
                // The world client first: the loop ignores its view until both mean one server.
                self.asked.send_if_modified(|before| {
                    let changed = *before != asked;
                    *before = asked;
                    changed
                });
                let logs = rotation(&settings);
                self.rotation
                    .send_if_modified(|before| std::mem::replace(before, logs.clone()) != logs);
                self.projects.send_replace(settings.rules.projects());
                self.settings.send_replace(Arc::new(settings));
                self.events.bound(config.events_max_bytes);
                self.outlets.apply(&config);
                self.config = config;
                self.reloaded("applied", "");
            }
            Err(error) => {
                error!(event = "config.rejected", %error, "the embedded world cannot be started");
                self.reloaded(
                    "rejected",
                    &format!("the embedded world cannot be started: {error}"),
                );
            }
        }
    }
}
