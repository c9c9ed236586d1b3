//! The loop with an executor that only takes notes, and a clock that is moved by hand.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::discovery::View;
use crate::executor::{Event, Identity, SpawnRequest, logs};
use crate::plan::fixture::{entity, rules, template};
use crate::plan::{
    Agent, Answer, Entity, Exit, Heard, Launch, Launcher, Place, Site, Spawn, StopReason, Stopping,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Spawn(RunId, String),
    Adopt(RunId, u32),
    Examine(RunId, bool),
    Terminate(RunId),
    Kill(RunId),
    Ask,
}

/// Passes on what it is told, in order.
#[derive(Clone, Debug)]
struct Notes(mpsc::UnboundedSender<Told>, watch::Sender<bool>);

impl Executor for Notes {
    type Identity = Identity;

    fn spawn(&self, request: SpawnRequest) {
        self.0.send(Told::Spawn(request.run, request.entity.to_string())).unwrap();
    }

    fn adopt(&self, adoption: Adoption) {
        self.0.send(Told::Adopt(adoption.run, adoption.identity.pid)).unwrap();
    }

    fn examine(&self, run: RunId, dump: bool) {
        self.0.send(Told::Examine(run, dump)).unwrap();
    }

    fn terminate(&self, run: RunId) {
        self.0.send(Told::Terminate(run)).unwrap();
    }

    fn kill(&self, run: RunId) {
        self.0.send(Told::Kill(run)).unwrap();
    }

    fn give_up(&self) {}
}

/// Remembers nothing.
struct NoMemory;

impl Remember for NoMemory {
    fn agent(&self, _: &EntityId, _: &Agent) {}

    fn forgotten(&self, _: &EntityId) {}

    fn over(&self, _: RunId) {}

    fn arrival(&self, _: &EntityId, _: Option<Arrival>) {}

    fn orders(&self, _: &Orders) {}

    fn commit(&self) {}
}

impl AskWorld for Notes {
    fn ask(&self) {
        self.0.send(Told::Ask).unwrap();
    }

    fn rest(&self, resting: bool) {
        self.1.send_replace(resting);
    }
}

struct Stage {
    clock: Clock,
    settings: watch::Sender<Arc<Settings>>,
    intent: watch::Sender<Intent>,
    view: watch::Sender<Arc<View>>,
    synced: watch::Sender<BTreeSet<PathBuf>>,
    events: mpsc::UnboundedSender<Event>,
    requests: mpsc::UnboundedSender<Request>,
    told: mpsc::UnboundedReceiver<Told>,
    resting: watch::Receiver<bool>,
    task: JoinHandle<Intent>,
    entities: Mutex<Vec<Entity>>,
}

impl Stage {
    fn new() -> Self {
        Self::resumed(Inheritance::default())
    }

    /// A stage on which another loop ended.
    fn resumed(inheritance: Inheritance) -> Self {
        let clock = Clock::new();
        let settings = Settings {
            generation: 1,
            rules: Arc::new(rules(vec![template("default")])),
            log_dir: "logs".into(),
            logs: logs::Policy { max_bytes: None, keep: 0, max_total_bytes: None },
            site: Site { server: "one:1".to_owned(), runner: "/bin/runner".to_owned() },
            instance: "test".to_owned(),
        };
        let (settings, settings_seen) = watch::channel(Arc::new(settings));
        let (intent, intent_seen) = watch::channel(Intent::Run);
        let view = View { server: "one:1".to_owned(), ..View::default() };
        let (view, view_seen) = watch::channel(Arc::new(view));
        let (synced, synced_seen) = watch::channel(BTreeSet::new());
        let (events, events_seen) = mpsc::unbounded_channel();
        let (requests, requests_seen) = mpsc::unbounded_channel();
        let (notes, told) = mpsc::unbounded_channel();
        let sources = Sources {
            settings: settings_seen,
            intent: intent_seen,
            view: view_seen,
            synced: synced_seen,
            events: events_seen,
            requests: requests_seen,
        };
        let (rest, resting) = watch::channel(false);
        let notes = Notes(notes, rest);
        let effects = (notes.clone(), notes, NoMemory);
        let mut reconciler = Reconciler::new(effects, sources, clock).resume(inheritance);
        let task = tokio::spawn(async move { reconciler.run().await });
        Self {
            clock,
            settings,
            intent,
            view,
            synced,
            events,
            requests,
            told,
            resting,
            task,
            entities: Mutex::default(),
        }
    }

    /// A stage on which agents of these entities run.
    async fn running(ids: &[&str]) -> Self {
        let mut stage = Self::new();
        stage.answer(ids);
        for (run, id) in (0..).zip(ids) {
            assert_eq!(stage.next().await, Told::Spawn(RunId(run), (*id).to_owned()));
            stage
                .events
                .send(Event::Started { run: RunId(run), place: Place::Process { pid: 7 } })
                .unwrap();
        }
        // The paused clock moves only when the loop has taken in everything and waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        stage
    }

    fn answer(&self, ids: &[&str]) {
        *self.entities.lock().unwrap() = ids.iter().map(|id| entity(id)).collect();
        self.answer_again();
    }

    fn answer_again(&self) {
        let now = self.clock.now();
        let entities = self.entities.lock().unwrap().clone().into_iter().collect();
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.answers += 1;
            view.reachable = true;
            view.latest_asked = Some(now);
            view.latest = Some(Answer {
                heard: Heard::Asked(now),
                at: now,
                entities: Arc::new(entities),
                refused: Arc::default(),
            });
        });
    }

    fn lose_world(&self) {
        let now = self.clock.now();
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.reachable = false;
            view.disrupted_at = Some(now);
        });
    }

    fn gone(&self, run: u64, exit: Exit) {
        self.events.send(Event::Gone { run: RunId(run), exit }).unwrap();
    }

    async fn next(&mut self) -> Told {
        // The clock is paused: this waits an hour of its time, and no real time.
        timeout(Duration::from_secs(3600), self.told.recv()).await.expect("told nothing").unwrap()
    }

    /// Waits until the world may rest, or may not any more.
    async fn rests(&mut self, wanted: bool) {
        let rests = self.resting.wait_for(|resting| *resting == wanted);
        let told = timeout(Duration::from_secs(1), rests).await;
        assert!(told.is_ok(), "never {wanted}");
    }

    /// What is told within this time of the paused clock.
    async fn within(&mut self, time: Duration) -> Option<Told> {
        timeout(time, self.told.recv()).await.ok().flatten()
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_asks_the_world_and_restarts_after_the_delay_and_not_before() {
    let mut stage = Stage::running(&["alice"]).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    stage.gone(0, Exit::Code(1));
    assert_eq!(stage.next().await, Told::Ask);
    stage.answer_again();
    assert_eq!(stage.within(Duration::from_millis(990)).await, None);
    assert_eq!(
        stage.within(Duration::from_millis(20)).await,
        Some(Told::Spawn(RunId(1), "alice".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn an_exit_with_the_world_waits_for_it_and_starts_when_it_is_back() {
    let mut stage = Stage::running(&["alice"]).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    stage.gone(0, Exit::Code(0));
    assert_eq!(stage.next().await, Told::Ask);
    stage.lose_world();
    assert_eq!(stage.within(Duration::from_secs(20)).await, None);
    stage.answer_again();
    assert_eq!(
        stage.within(Duration::from_millis(1)).await,
        Some(Told::Spawn(RunId(1), "alice".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_a_loop_whose_agents_run() {
    let mut stage = Stage::running(&["alice", "bob"]).await;
    assert_eq!(stage.within(Duration::from_secs(86_400)).await, None);
    assert!(!stage.task.is_finished());
}

/// What hangs on an answer is in a hurry for it.
#[tokio::test(start_paused = true)]
async fn the_world_rests_while_all_is_settled() {
    let mut stage = Stage::running(&["alice", "bob"]).await;
    stage.rests(true).await;
    stage.answer(&["alice"]);
    stage.rests(false).await;
    stage.answer(&["alice", "bob"]);
    stage.rests(true).await;
    // Later than it answered.
    tokio::time::sleep(Duration::from_millis(1)).await;
    stage.gone(0, Exit::Code(1));
    assert_eq!(stage.next().await, Told::Ask);
    stage.rests(false).await;
    stage.answer_again();
    stage.rests(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_signal_terminates_then_kills_at_the_end_of_the_grace_and_ends_the_loop() {
    let mut stage = Stage::running(&["alice", "bob"]).await;
    stage.intent.send(Intent::Stop).unwrap();
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    assert_eq!(stage.next().await, Told::Terminate(RunId(1)));
    stage.gone(0, Exit::Code(0));
    assert_eq!(stage.within(Duration::from_millis(4_990)).await, None);
    assert_eq!(stage.within(Duration::from_millis(20)).await, Some(Told::Kill(RunId(1))));
    assert!(!stage.task.is_finished());
    stage.gone(1, Exit::Signal(9));
    assert_eq!(stage.task.await.unwrap(), Intent::Stop);
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_signal_kills_at_once() {
    let mut stage = Stage::running(&["alice"]).await;
    stage.intent.send(Intent::Stop).unwrap();
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    stage.intent.send(Intent::Kill).unwrap();
    assert_eq!(stage.within(Duration::from_millis(1)).await, Some(Told::Kill(RunId(0))));
}

#[tokio::test(start_paused = true)]
async fn another_server_touches_nobody_until_it_has_answered() {
    let mut stage = Stage::running(&["alice"]).await;
    stage.settings.send_modify(|settings| {
        let settings = Arc::make_mut(settings);
        settings.generation += 1;
        settings.site.server = "two:2".to_owned();
    });
    // The world before goes on answering for a moment; that says nothing of the new one.
    stage.answer(&[]);
    assert_eq!(stage.within(Duration::from_secs(600)).await, None);
    stage.view.send_replace(Arc::new(View { server: "two:2".to_owned(), ..View::default() }));
    assert_eq!(stage.within(Duration::from_secs(600)).await, None);
    stage.answer(&["alice"]);
    // Its command line names the server.
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    stage.gone(0, Exit::Code(0));
    assert_eq!(stage.next().await, Told::Spawn(RunId(1), "alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_replacement_waits_until_the_last_process_is_gone() {
    let mut stage = Stage::running(&["alice"]).await;
    stage.settings.send_modify(|settings| {
        let settings = Arc::make_mut(settings);
        settings.generation += 1;
        settings.rules = Arc::new(rules(vec![crate::plan::Template {
            args: vec!["--new".to_owned()],
            ..template("default")
        }]));
    });
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    stage.events.send(Event::LeaderExited { run: RunId(0), exit: Exit::Code(0) }).unwrap();
    assert_eq!(stage.within(Duration::from_secs(4)).await, None);
    assert_eq!(stage.next().await, Told::Kill(RunId(0)));
    assert_eq!(stage.within(Duration::from_secs(600)).await, None);
    stage.gone(0, Exit::Code(0));
    assert_eq!(stage.next().await, Told::Spawn(RunId(1), "alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn starts_beyond_the_rate_are_made_exactly_when_they_are_due_and_stops_at_once() {
    let mut stage = Stage::new();
    stage.settings.send_modify(|settings| {
        let settings = Arc::make_mut(settings);
        settings.generation += 1;
        Arc::make_mut(&mut settings.rules).spawn = Spawn { max_parallel: 9, per_second: 2 };
    });
    stage.answer(&["a", "b", "c", "d", "e", "f"]);
    let spawn = |run: u64, id: &str| Told::Spawn(RunId(run), id.to_owned());
    assert_eq!((stage.next().await, stage.next().await), (spawn(0, "a"), spawn(1, "b")));
    for (run, id) in [(2, "c"), (3, "d")] {
        assert_eq!(stage.within(Duration::from_millis(499)).await, None);
        assert_eq!(stage.within(Duration::from_millis(2)).await, Some(spawn(run, id)));
    }
    stage.intent.send(Intent::Stop).unwrap();
    for run in 0..4 {
        let told = stage.within(Duration::from_millis(1)).await;
        assert_eq!(told, Some(Told::Terminate(RunId(run))));
    }
    // Nobody is started any more.
    assert_eq!(stage.within(Duration::from_secs(4)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_over_makes_room_for_the_next_one() {
    let mut stage = Stage::new();
    stage.settings.send_modify(|settings| {
        let settings = Arc::make_mut(settings);
        settings.generation += 1;
        Arc::make_mut(&mut settings.rules).spawn.max_parallel = 1;
    });
    stage.answer(&["a", "b", "c"]);
    for (run, id) in [(0, "a"), (1, "b"), (2, "c")] {
        assert_eq!(stage.next().await, Told::Spawn(RunId(run), id.to_owned()));
        assert_eq!(stage.within(Duration::from_secs(60)).await, None);
        stage
            .events
            .send(Event::Started { run: RunId(run), place: Place::Process { pid: 7 } })
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_runs_that_are_over_change_nothing() {
    let mut stage = Stage::running(&["alice"]).await;
    stage.gone(77, Exit::Code(1));
    stage.events.send(Event::Started { run: RunId(0), place: Place::Process { pid: 8 } }).unwrap();
    assert_eq!(stage.within(Duration::from_secs(600)).await, None);
}

#[tokio::test(start_paused = true)]
async fn to_leave_is_to_end_at_once_and_stop_nobody() {
    let mut stage = Stage::running(&["alice"]).await;
    stage.intent.send(Intent::Leave).unwrap();
    assert_eq!(stage.within(Duration::from_secs(600)).await, None);
    assert_eq!(stage.task.await.unwrap(), Intent::Leave);
}

/// What a loop left of alice, its only agent, with process 77 and run 9.
fn left_behind(phase: Phase) -> Inheritance {
    let alice = EntityId::new("alice").unwrap();
    let site = Site { server: "one:1".to_owned(), runner: "/bin/runner".to_owned() };
    let spec = crate::plan::AgentSpec::resolve(&template("default"), &entity("alice"), &site);
    let agent = Agent {
        incarnation: 0,
        template: "default".to_owned(),
        spec: Arc::new(spec),
        grace: Duration::from_secs(5),
        attempts: 2,
        restarts: 0,
        last_end: None,
        waits: None,
        phase,
    };
    let identity = Identity { pid: 77, start: 1 };
    let adopted = Adopted { run: RunId(9), identity, gate: false };
    Inheritance {
        observed: Observed {
            agents: [(alice.clone(), agent)].into(),
            next_run: 10,
            ..Observed::default()
        },
        adoptions: [(alice, adopted)].into(),
        arrivals: Some(BTreeMap::new()),
        orders: Orders::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_loop_left_is_adopted_and_not_started_again() {
    let mut stage = Stage::resumed(left_behind(Phase::Running {
        run: RunId(9),
        place: Place::Process { pid: 77 },
        since: Time::default(),
        lease: crate::plan::Lease::Unknown,
    }));
    assert_eq!(stage.next().await, Told::Adopt(RunId(9), 77));
    stage.answer(&["alice"]);
    assert_eq!(stage.within(Duration::from_secs(60)).await, None);
    stage.gone(9, Exit::Signal(15));
    assert_eq!(stage.next().await, Told::Ask);
    stage.answer_again();
    assert_eq!(stage.next().await, Told::Spawn(RunId(10), "alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_was_written_down_and_may_not_have_been_done_is_done_again() {
    let stopping = Stopping {
        run: RunId(9),
        started: Time::default(),
        why: StopReason::EntityGone,
        deadline: Some(Time::default() + Duration::from_secs(5)),
        killed: false,
    };
    let mut stage = Stage::resumed(left_behind(Phase::Stopping(stopping.clone())));
    assert_eq!(stage.next().await, Told::Adopt(RunId(9), 77));
    assert_eq!(stage.next().await, Told::Terminate(RunId(9)));

    let killed = Stopping { killed: true, ..stopping };
    let mut stage = Stage::resumed(left_behind(Phase::Stopping(killed)));
    assert_eq!(stage.next().await, Told::Adopt(RunId(9), 77));
    assert_eq!(stage.next().await, Told::Kill(RunId(9)));
}

#[tokio::test(start_paused = true)]
async fn agents_of_a_project_are_started_once_it_is_synced() {
    let mut stage = Stage::new();
    let dir = PathBuf::from("/project");
    let mut agent = template("default");
    agent.cwd.clone_from(&dir);
    agent.launch = Launch::Module { launcher: Launcher::UvSync, module: "m".to_owned() };
    stage.settings.send_modify(|settings| {
        let settings = Arc::make_mut(settings);
        settings.generation += 1;
        settings.rules = Arc::new(rules(vec![agent, template("alice")]));
    });
    stage.answer(&["alice", "bob"]);
    assert_eq!(stage.next().await, Told::Spawn(RunId(0), "alice".to_owned()));
    stage.synced.send_replace([dir].into());
    assert_eq!(stage.next().await, Told::Spawn(RunId(1), "bob".to_owned()));
}

impl Stage {
    /// Asks for something, and returns what came of it.
    async fn order(&self, order: Order, ids: &[&str]) -> Result<(), Vec<EntityId>> {
        let ids = ids.iter().map(|id| EntityId::new(id).unwrap()).collect();
        let (done, result) = tokio::sync::oneshot::channel();
        self.requests.send(Request::Order { order, ids, done }).unwrap();
        result.await.unwrap()
    }

    async fn look(&self) -> Look {
        let (sender, look) = tokio::sync::oneshot::channel();
        self.requests.send(Request::Look(sender)).unwrap();
        look.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_restart_gets_one_and_not_two() {
    let mut stage = Stage::running(&["alice", "bob"]).await;
    stage.order(Order::Restart, &["alice"]).await.unwrap();
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    stage.gone(0, Exit::Signal(15));
    assert_eq!(stage.next().await, Told::Spawn(RunId(2), "alice".to_owned()));
    stage.events.send(Event::Started { run: RunId(2), place: Place::Process { pid: 8 } }).unwrap();
    assert_eq!(stage.within(Duration::from_secs(60)).await, None);
    let look = stage.look().await;
    assert_eq!(look.observed.agents["alice"].restarts, 1);
    assert_eq!(look.observed.agents["bob"].restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_suspended_has_no_agent_until_resumed() {
    let mut stage = Stage::running(&["alice", "bob"]).await;
    stage.order(Order::Suspend, &["alice"]).await.unwrap();
    assert_eq!(stage.next().await, Told::Terminate(RunId(0)));
    stage.gone(0, Exit::Signal(15));
    assert_eq!(stage.within(Duration::from_secs(60)).await, None);
    let look = stage.look().await;
    assert_eq!(look.pending["alice"], Pending::Suspended);
    assert!(!look.observed.agents.contains_key("alice"));
    stage.order(Order::Resume, &["alice"]).await.unwrap();
    assert_eq!(stage.next().await, Told::Spawn(RunId(2), "alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_anybody_if_one_is_not_known() {
    let mut stage = Stage::running(&["alice"]).await;
    let refused = stage.order(Order::Restart, &["alice", "nobody"]).await;
    assert_eq!(refused, Err(vec![EntityId::new("nobody").unwrap()]));
    assert_eq!(stage.within(Duration::from_secs(60)).await, None);
}
