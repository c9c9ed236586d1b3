//! A runner whose loop is the real one, and whose clock, executor, world, file and disk are moved by
//! hand: one thing at a time, so that the same happenings come to the same end.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use runner::clock::Clock;
use runner::discovery::View;
use runner::executor::{Event, Identity, logs};
use runner::plan::{Agent, Exit, Intent, Phase, Rules, RunId, StopReason, Stopping, Time, Wants};
use runner::reconcile::{Look, Order, Reconciler, Request, Settings, Sources};
use runner::state::restore;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, advance, sleep_until};

use super::effects::{Asked, Journal, Task, Told};
use super::happening::Happening;
use super::world::{Way, World};
use crate::hearsay::Hearsay;
use crate::machine::{Life, Machine};
use crate::promise::Scene;
use crate::rules::{arbitrary, site};

/// Between two things that happen.
const MOMENT: Duration = Duration::from_micros(1);

/// Everything.
pub(crate) struct Stage {
    clock: Clock,
    pub(super) machine: Machine,
    pub(crate) world: World,
    way: Way,
    hearsay: Hearsay,
    pub(super) journal: Journal,
    rules: Arc<Rules>,
    told: Told,
    pub(crate) tasks: VecDeque<Task>,
    /// What happened to processes, and was not told.
    pub(super) events: VecDeque<Event>,
    /// Whose end the executor of this runner will notice.
    pub(super) known: BTreeMap<RunId, Identity>,
    pub(super) hung: HashSet<RunId>,
    pub(super) runner: Option<Running>,
    /// The runs that were told to end.
    stopping: HashSet<RunId>,
    /// The first thing that must not happen and did.
    pub(crate) violation: Option<String>,
}

/// A loop that goes round, and what it hears from.
pub(super) struct Running {
    intent: Pin<Box<dyn Future<Output = Intent>>>,
    view: View,
    views: watch::Sender<Arc<View>>,
    settings: watch::Sender<Arc<Settings>>,
    intents: watch::Sender<Intent>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    requests: mpsc::UnboundedSender<Request>,
    _synced: watch::Sender<BTreeSet<PathBuf>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::new(),
            machine: Machine::default(),
            world: World::new(),
            way: Way::default(),
            hearsay: Hearsay::default(),
            journal: Journal::default(),
            rules: Arc::new(arbitrary(0)),
            told: Told::default(),
            tasks: VecDeque::new(),
            events: VecDeque::new(),
            known: BTreeMap::new(),
            hung: HashSet::new(),
            runner: None,
            stopping: HashSet::new(),
            violation: None,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn hold(&mut self, found: Result<(), String>) {
        if let (Err(violation), None) = (found, &self.violation) {
            self.violation = Some(violation);
        }
    }

    /// One thing happens, and the loop does all that follows from it.
    pub(crate) async fn happens(&mut self, happening: &Happening) {
        // No two things happen at once: which was first is told by their times.
        advance(MOMENT).await;
        match *happening {
            Happening::Pass(millis) => self.pass(Duration::from_millis(millis)).await,
            Happening::Jump(millis) => {
                advance(Duration::from_millis(millis)).await;
                self.renew_leases();
            }
            Happening::Do(index) => self.do_one(index),
            Happening::FailTo(index) => self.fail_to(index),
            Happening::Hear => _ = self.hear(),
            Happening::Exit(index, exit) => self.end(index, exit, |_| true),
            Happening::Obey(index) => self.end(index, Exit::Signal(15), |asked| asked),
            Happening::LeaderExits(index) => self.lose_leader(index),
            Happening::Hang(index) => {
                let run = self.pick(index).map(|at| self.machine.processes[at].body.run);
                self.hung.extend(run);
            }
            Happening::Hide(index) => self.hide(index),
            Happening::Come(index) => self.world.come(index, false),
            Happening::Leave(index) => self.world.leave(index),
            Happening::Reincarnate(index) => self.world.come(index, true),
            Happening::TakeLease(index, seconds) => {
                let (id, until) = (self.world.id(index).clone(), self.now());
                self.world.lease(&id, until + Duration::from_secs(seconds));
            }
            Happening::WorldEnds => {
                self.world.up = false;
                self.way.cut();
            }
            Happening::WorldReturns if self.world.up => {}
            Happening::WorldReturns => self.world.restart(),
            Happening::Poll => self.ask(u8::MAX),
            Happening::Lie(bits) => self.ask(bits),
            Happening::Tell => self.way.tell(&self.world, self.clock.now()),
            Happening::Deliver => self.see(Way::deliver),
            Happening::DeliverOld(index) => {
                self.see(|way, view, now| way.deliver_old(index, view, now));
            }
            Happening::Lose if self.way.awaits() => self.lose_contact(),
            Happening::Lose => {}
            Happening::Configure(bits) => self.configure(bits),
            Happening::Order(index, order) => self.order(index, order),
            Happening::Steer(steer) => {
                let (done, _) = oneshot::channel();
                self.request(Request::Steer { template: "default".to_owned(), steer, done });
            }
            Happening::FillDisk => self.journal.0.borrow_mut().full = true,
            Happening::FreeDisk => self.free_disk(),
            Happening::Die => self.die(),
            Happening::Begin => self.begin(),
            Happening::LeaveAgents => {
                if let Some(runner) = &self.runner {
                    runner.intents.send_replace(Intent::Leave);
                }
            }
            Happening::Look => {
                self.settle().await;
                if self.runner.is_some() && self.look().await.is_none() {
                    self.hold(Err("the loop does not answer".to_owned()));
                }
            }
        }
        self.settle().await;
    }

    /// Lets the loop go round until it waits, and holds what it then does against its promise.
    pub(crate) async fn settle(&mut self) {
        self.turn().await;
        let told = self.told.take();
        let terminates = told.iter().any(|task| matches!(task, Task::Terminate(_)));
        for task in told {
            if let Task::Bear(_) = task {
                let living = self.machine.processes.iter().filter(|it| !it.life.is_over()).count();
                let waiting = self.tasks.iter().filter(|it| matches!(it, Task::Bear(_))).count();
                let (living, max) = (living + waiting, self.rules.max_agents);
                if living >= max {
                    self.hold(Err(format!("one is started beside {living}, of {max}")));
                }
            }
            self.tasks.push_back(task);
        }
        if terminates {
            self.check_removals().await;
        }
    }

    async fn turn(&mut self) {
        let Some(runner) = &mut self.runner else { return };
        let intent = &mut runner.intent;
        let turned = unconstrained(poll_fn(|context| Poll::Ready(intent.as_mut().poll(context))));
        if turned.await.is_ready() {
            self.die();
        }
    }

    /// Nobody is stopped as gone of whom that is not proved.
    async fn check_removals(&mut self) {
        let Some(look) = self.look().await else { return };
        for (id, agent) in &look.observed.agents {
            let Phase::Stopping(Stopping { run, why, .. }) = &agent.phase else { continue };
            // What was decided before may be told again.
            if self.stopping.insert(*run) && *why == StopReason::EntityGone {
                let proved = self.hearsay.proves_gone(id, &self.rules, self.now());
                self.hold(proved);
            }
        }
    }

    /// All that the loop knows; none if there is none.
    pub(crate) async fn look(&mut self) -> Option<Look> {
        let (look, mut looked) = oneshot::channel();
        self.request(Request::Look(look));
        self.turn().await;
        looked.try_recv().ok()
    }

    /// Whether the promise is kept now.
    pub(crate) async fn is_kept(&mut self) -> Result<(), String> {
        let Some(look) = self.look().await else { return Err("there is no runner".to_owned()) };
        let (desired, observed) = (&look.desired, &look.observed);
        let (machine, world) = (&self.machine, &self.world.entities);
        let kept = Scene { desired, observed, machine, world }.is_kept();
        kept.map_err(|why| why + &describe(&look))
    }

    fn request(&mut self, request: Request) {
        if let Some(runner) = &self.runner {
            let _ = runner.requests.send(request);
        }
    }

    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        self.renew_leases();
        match &mut self.runner {
            None => sleep_until(until).await,
            Some(runner) => {
                tokio::select! {
                    biased;
                    _ = &mut runner.intent => self.die(),
                    () = sleep_until(until) => {}
                }
            }
        }
        self.renew_leases();
    }

    fn renew_leases(&mut self) {
        let now = self.clock.now();
        for process in self.machine.agents().filter(|process| process.life == Life::Agent) {
            if self.world.up && !self.hung.contains(&process.body.run) {
                self.world.renew(&process.body.entity, now);
            }
        }
    }

    pub(crate) fn begin(&mut self) {
        if self.runner.is_some() {
            return;
        }
        let memory = self.journal.0.borrow_mut().begin();
        let survey = self.machine.survey(&memory.processes());
        let inheritance = restore(memory, survey, self.clock.now());
        let agents = inheritance.observed.agents.values();
        let stopping = agents.filter(|agent| matches!(agent.phase, Phase::Stopping(_)));
        self.stopping.extend(stopping.filter_map(Agent::run));
        self.machine.bury();
        self.way.begin();
        self.hearsay.forget();
        let settings = Settings {
            generation: 1,
            rules: Arc::clone(&self.rules),
            log_dir: "logs".into(),
            logs: logs::Policy { max_bytes: None, keep: 0, max_total_bytes: None },
            site: site(),
            instance: "verify".to_owned(),
        };
        let view = View { server: site().server, ..View::default() };
        let (settings, settings_seen) = watch::channel(Arc::new(settings));
        let (intents, intent_seen) = watch::channel(Intent::Run);
        let (views, view_seen) = watch::channel(Arc::new(view.clone()));
        let (synced, synced_seen) = watch::channel(BTreeSet::new());
        let (events, events_seen) = mpsc::unbounded_channel();
        let (requests, requests_seen) = mpsc::unbounded_channel();
        let sources = Sources {
            settings: settings_seen,
            intent: intent_seen,
            view: view_seen,
            synced: synced_seen,
            events: events_seen,
            requests: requests_seen,
        };
        let effects = (self.told.clone(), Asked, self.journal.clone());
        let mut reconciler = Reconciler::new(effects, sources, self.clock).resume(inheritance);
        let intent = Box::pin(async move { reconciler.run().await });
        self.runner = Some(Running {
            intent,
            view,
            views,
            settings,
            intents,
            events,
            requests,
            _synced: synced,
        });
    }

    /// The runner is gone, with all that it had in mind.
    fn die(&mut self) {
        self.runner = None;
        self.told.take();
        self.tasks.clear();
        self.events.clear();
        self.known.clear();
        self.machine.close_gates();
    }

    pub(crate) fn free_disk(&mut self) {
        let mut disk = self.journal.0.borrow_mut();
        disk.full = false;
        // A runner tries again by itself.
        if self.runner.is_some() {
            disk.write();
        }
    }

    fn configure(&mut self, bits: u32) {
        self.rules = Arc::new(arbitrary(bits));
        let Some(runner) = &self.runner else { return };
        runner.settings.send_modify(|settings| {
            let settings = Arc::make_mut(settings);
            settings.generation += 1;
            settings.rules = Arc::clone(&self.rules);
        });
    }

    fn order(&mut self, index: usize, order: Order) {
        let ids = BTreeSet::from([self.world.id(index).clone()]);
        let (done, _) = oneshot::channel();
        self.request(Request::Order { order, ids, done });
    }

    fn ask(&mut self, bits: u8) {
        if self.runner.is_some() && self.way.ask(&self.world, bits, self.clock.now()) {
            self.lose_contact();
        }
    }

    fn lose_contact(&mut self) {
        let now = self.clock.now();
        self.hearsay.forget();
        self.see(|way, view, _| {
            way.fail(view, now);
            false
        });
    }

    /// Something changes what is known of the world; says whether it is another answer.
    fn see(&mut self, change: impl FnOnce(&mut Way, &mut View, Time) -> bool) {
        let Some(runner) = &mut self.runner else { return };
        let before = runner.view.disrupted_at;
        let answered = change(&mut self.way, &mut runner.view, self.clock.now());
        if before != runner.view.disrupted_at {
            self.hearsay.forget();
        }
        if let Some(answer) = runner.view.latest.as_ref().filter(|_| answered) {
            self.hearsay.hear(answer);
        }
        runner.views.send_replace(Arc::new(runner.view.clone()));
    }
}

/// What there is, for who looks for a mistake.
fn describe(look: &Look) -> String {
    let Rules { max_agents, jit, auto_discover, spawn, .. } = &*look.settings.rules;
    let enabled = jit.enabled;
    let mut all = format!(
        "; max_agents {max_agents}, jit {enabled}, auto_discover {auto_discover}, {spawn:?}"
    );
    for (id, agent) in &look.observed.agents {
        let want = match &look.desired.wants {
            Wants::Unknown => None,
            Wants::Known { agents, .. } => agents.get(id),
        };
        let wanted = want.map(|it| (it.present, it.suspended, &it.spec.argv, &it.template.name));
        let pending = look.pending.get(id);
        let Agent { phase, spec, .. } = agent;
        let line = format!("\n  {id}: {phase:?} {:?}, wanted {wanted:?}, {pending:?}", spec.argv);
        all.push_str(&line);
    }
    all
}
