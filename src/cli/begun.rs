//! A runner from when it has begun until it ends: it learns who is there, and then reconciles.

use std::future::pending;
use std::io;
use std::path::absolute;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, info};

use super::cluster;
use super::console::Console;
use super::file::Loaded;
use super::limits;
use super::live;
use super::manager::Manager;
use super::operator::Operator;
use super::outlets::Outlets;
use super::reconcile::{About, Left};
use super::settings::{Settler, containment, instance, rotation};
use super::signals::{Signals, Told};
use super::waiting;
use crate::clock::Clock;
use crate::config::{self, Config, ExecutorKind};
use crate::control::{self, Instance};
use crate::discovery;
use crate::executor::gate::{Births, VERB};
use crate::executor::kubernetes::{Inquiry, Kubernetes, Rate};
use crate::executor::local::survey::survey;
use crate::executor::{Event, Executor, Local, Record, Trees, logs};
use crate::hooks::Hooks;
use crate::metrics::Exporter;
use crate::plan::{Agent, Intent};
use crate::project::Syncer;
use crate::reconcile::{Inheritance, Reconciler, Request, Sources};
use crate::state::{Directory, Journal, Memory, restore, restore_pods};

/// How long the last answers of the control API may take, once the instance is over. What somebody
/// asked for and what came of it are a few milliseconds apart.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A runner that has begun, and is to know yet who is there.
pub(super) struct Begun<'a> {
    pub(super) directory: &'a Directory,
    pub(super) about: &'a About<'a>,
    pub(super) loaded: Loaded,
    pub(super) name: String,
    pub(super) signals: Signals,
    pub(super) outlets: Outlets,
    pub(super) hooks: Hooks,
    pub(super) exporter: Exporter,
    pub(super) socket: io::Result<control::Socket>,
    pub(super) requests: (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>),
    pub(super) clock: Clock,
    pub(super) journal: Arc<Journal>,
}

impl Begun<'_> {
    /// Agents are processes beside this one.
    pub(super) async fn on_this_machine(mut self) -> io::Result<Left> {
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
        let run = self.run((executor, happenings), inheritance, (None, pending()));
        let left = Box::pin(run).await?;
        if let Left::Ended = left {
            trees.close();
        }
        Ok(left)
    }

    /// Agents are pods of a cluster.
    pub(super) async fn in_cluster(mut self, settings: &config::Cluster) -> io::Result<Left> {
        of_one_kind(&self.journal.memory(), true)?;
        let access = cluster::access(settings);
        let rate = watch::Sender::new(cluster::rate(settings));
        let me = self.directory.holder()?;
        let (leader, leads) = watch::channel(String::new());
        let reached = tokio::select! {
            reached = cluster::reach((&access, &rate), (&self.name, &me), &leader) => reached,
            () = refuse(&mut self.socket, &leads) => return Ok(Left::Ended),
            () = self.exporter.run() => return Ok(Left::Ended),
            () = self.hooks.run() => return Ok(Left::Ended),
            () = stand_by(&mut self.requests.1) => return Ok(Left::Ended),
            told = told_to_stop(&mut self.signals) => {
                told?;
                info!(event = "runner.stopped", "the agents, if there are any, run on");
                return Ok(Left::Ended);
            }
        };
        let (cluster, found) = reached.map_err(io::Error::other)?;
        // Its turn may come days after it was started.
        self.loaded.refresh();
        if let ExecutorKind::Kubernetes(settings) = &self.loaded.config.executor {
            rate.send_replace(cluster::rate(settings));
        }
        self.outlets.apply(&self.loaded.config);
        if !cluster.resumed() {
            self.journal.succeed(cluster.kept().and_then(cluster::orders));
        }
        self.journal.share_orders(cluster.notebook());
        let inheritance = restore_pods(self.journal.memory(), found, self.clock.now());
        let (remote, ousted) = (Some((cluster.inquiry(), rate)), cluster.ousted());
        Box::pin(self.run(Kubernetes::new(cluster), inheritance, (remote, ousted))).await
    }

    /// Reconciles until that is over.
    async fn run<E: Executor>(
        self,
        (executor, happenings): (E, mpsc::UnboundedReceiver<Event>),
        inheritance: Inheritance<E::Identity>,
        (remote, ousted): (Option<(Inquiry, watch::Sender<Rate>)>, impl Future<Output = ()>),
    ) -> io::Result<Left> {
        let Self {
            directory,
            about: &About { successor, events, console, .. },
            name,
            signals,
            outlets,
            mut hooks,
            mut exporter,
            clock,
            journal,
            ..
        } = self;
        let Loaded { path, overrides, config, bytes } = self.loaded;
        let (requests, requests_seen) = self.requests;
        let mut settler = Settler::new(directory.path())?;
        let (settings, asked) = settler.settle(&config).await?;
        let (rotation, rotation_seen) = watch::channel(rotation(&settings));
        let (projects, projects_seen) = watch::channel(settings.rules.projects());
        let (settings, settings_seen) = watch::channel(Arc::new(settings));
        let (asked, asked_seen) = watch::channel(asked);
        let (intent, intent_seen) = watch::channel(Intent::Run);
        let (cluster, rate) = remote.unzip();

        let world = discovery::start(asked_seen, clock);
        let rotator = logs::Rotator::new(rotation_seen, clock);
        let syncer = Syncer::new(projects_seen);
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
            cluster,
            asks,
        };
        let manager = Manager::from_env();
        let intent_told = intent.subscribe();
        let operator = Operator {
            watch: config::watch(&path, overrides.clone(), bytes)?,
            signals,
            console,
            path,
            enforceable: overrides.enforceable.clone(),
            overrides,
            manager: &manager,
            asks: asks_seen,
            reloading: Vec::new(),
            events: events.clone(),
            successor,
            intent,
            settler,
            settings,
            asked,
            rotation,
            projects,
            rate,
            outlets,
            config,
        };

        let (over, until) = watch::channel(());
        let mut api = pin!(serve(self.socket, instance.clone(), until));
        let left = tokio::select! {
            intent = reconciler.run() => {
                drop(reconciler);
                end(intent, directory, &journal);
                hooks.finish().await;
                Ok(Left::Ended)
            }
            replaced = operator.run() => replaced.map(|()| {
                reconciler.give_up();
                info!(event = "runner.replaced", "the program on the disk takes over");
                Left::Replaced
            }),
            left = let_go(instance.cluster.clone(), intent_told.clone(), ousted) => {
                reconciler.give_up();
                left
            }
            () = &mut api => Ok(Left::Ended),
            () = tell(&manager, console, (&instance, &intent_told)) => Ok(Left::Ended),
            () = rotator.run() => Ok(Left::Ended),
            () = syncer.run() => Ok(Left::Ended),
            () = exporter.run() => Ok(Left::Ended),
            () = hooks.run() => Ok(Left::Ended),
            () = Arc::clone(&journal).mend() => Ok(Left::Ended),
        };
        finish(over, api).await;
        left
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

/// Answers for a runner that waits for its turn: it is ready to take over, and knows of no agents.
/// Never ends.
async fn stand_by(requests: &mut mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        if let Request::Ready(ready) = request {
            // Who asked may have gone away.
            let _ = ready.send(true);
        }
    }
    pending::<()>().await;
}

/// Tells whoever asks that it is another runner that can be asked. Never ends.
async fn refuse(socket: &mut io::Result<control::Socket>, leads: &watch::Receiver<String>) {
    let why = || match leads.borrow().as_str() {
        "" => "the runner waits for its cluster".to_owned(),
        leader => format!("this runner stands by: ask {leader}, which leads the instance"),
    };
    match socket {
        Ok(socket) => control::refuse(socket, why).await,
        Err(_) => pending().await,
    }
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

/// Returns when the agents are not this runner's to look after any more: another one leads; or it was
/// told to end them at once and their cluster does not answer, for which who says it twice does not
/// want to wait.
async fn let_go(
    cluster: Option<Inquiry>,
    mut intent: watch::Receiver<Intent>,
    ousted: impl Future<Output = ()>,
) -> io::Result<Left> {
    let abandoned = async {
        let told = intent.wait_for(|intent| *intent == Intent::Kill).await;
        match &cluster {
            Some(cluster) if told.is_ok() => cluster.troubled().await,
            _ => pending().await,
        }
    };
    tokio::select! {
        () = ousted => Ok(Left::Ousted),
        why = abandoned => Err(io::Error::other(format!(
            "the agents run on, as their cluster does not answer: {why}; start the runner again and \
             stop it when the cluster answers"
        ))),
    }
}

/// Lets nobody come any more, says how it ended, and forgets whom nobody is to take up.
fn end(intent: Intent, directory: &Directory, journal: &Journal) {
    control::close(directory.path());
    if intent == Intent::Leave {
        info!(event = "runner.stopped", "the agents run on");
    } else {
        journal.clear();
        info!(event = "runner.stopped", "no agent is left");
    }
}

/// Has answered what was asked before the instance was over; who does not read is not waited for.
async fn finish(over: watch::Sender<()>, api: impl Future<Output = ()>) {
    drop(over);
    let _ = timeout(LAST_ANSWERS, api).await;
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

/// Serves the control API until the instance is over. Agents are looked after without it too, if it has
/// to be.
async fn serve(socket: io::Result<control::Socket>, instance: Instance, until: control::Over) {
    let served = match socket {
        Ok(socket) => control::serve(socket, instance, until.clone()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        error!(event = "control.failed", %error, "the control API is not served");
    }
    control::over(until).await;
}
