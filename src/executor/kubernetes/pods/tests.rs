use super::super::seen::State;
use super::*;
use crate::plan::Place;

fn entity(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

fn manifest(run: u64, name: &str) -> Manifest {
    Manifest { name: name.to_owned(), pod: serde_json::json!({ "run": run }) }
}

fn on_a_node() -> State {
    State::Running { node: "n".to_owned(), waits: None }
}

/// Pods as an API server and a kubelet have them, each as slow as it likes.
#[derive(Default)]
struct Server {
    pods: BTreeMap<String, Seen>,
    /// What the watch has not shown yet: a pod as it was, and whether that was the end of it.
    history: Vec<(Seen, bool)>,
    next_uid: u64,
    /// Which runs ever had a container.
    ran: BTreeSet<RunId>,
}

impl Server {
    fn answer(&mut self, call: &Call) -> Answer {
        match call {
            Call::Create(manifest) => {
                let run = RunId(manifest.pod["run"].as_u64().unwrap());
                if let Some(there) = self.pods.get(&manifest.name) {
                    let same = there.run == run;
                    return if same {
                        Answer::Pod(there.clone())
                    } else {
                        Answer::Refused("may not change fields".to_owned())
                    };
                }
                self.next_uid += 1;
                let seen = Seen {
                    name: manifest.name.clone(),
                    uid: Uid(self.next_uid.to_string()),
                    run,
                    entity: entity(manifest.name.split('-').next().unwrap()),
                    state: State::Waiting(Waits {
                        on: WaitsFor::Placement,
                        message: String::new(),
                    }),
                    leaving: None,
                };
                self.set(seen.clone());
                Answer::Pod(seen)
            }
            Call::Delete { name, uid, .. } => match self.pods.get(name).cloned() {
                None => Answer::None,
                Some(there) if there.uid != *uid => Answer::Refused("precondition".to_owned()),
                Some(there) => {
                    self.set(Seen { leaving: Some(Loss::Deleted), ..there });
                    Answer::Done
                }
            },
            Call::Look { name } => {
                self.pods.get(name).map_or(Answer::None, |seen| Answer::Pod(seen.clone()))
            }
        }
    }

    fn set(&mut self, seen: Seen) {
        if matches!(seen.state, State::Running { .. }) {
            assert!(self.ran.insert(seen.run) || self.pods[&seen.name].run == seen.run);
        }
        self.history.push((seen.clone(), false));
        self.pods.insert(seen.name.clone(), seen);
    }

    /// The node, or somebody else, does something to a pod.
    fn happen(&mut self, name: &str, what: u32) {
        let Some(seen) = self.pods.get(name).cloned() else { return };
        let ended = matches!(seen.state, State::Ended(_));
        match what {
            _ if seen.leaving.is_some() && (ended || what < 3) => {
                let last = Seen { state: State::Ended(Exit::Signal(15)), ..seen };
                self.pods.remove(name);
                self.history.push((last, true));
            }
            0 if matches!(seen.state, State::Waiting(_)) => {
                self.set(Seen { state: on_a_node(), ..seen });
            }
            1 if !ended => self.set(Seen { state: State::Ended(Exit::Code(1)), ..seen }),
            2 => self.set(Seen { leaving: Some(Loss::Evicted), ..seen }),
            _ => {}
        }
    }
}

/// What the loop would know of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Started,
    Ended,
}

struct Stage {
    pods: Pods,
    server: Server,
    calls: Vec<Call>,
    late: Vec<(String, Answer)>,
    delayed: Vec<String>,
    told: BTreeMap<RunId, Told>,
    runs: BTreeMap<String, RunId>,
    next_run: u64,
    random: fastrand::Rng,
}

impl Stage {
    fn new(seed: u64) -> Self {
        Self {
            pods: Pods::default(),
            server: Server::default(),
            calls: Vec::new(),
            late: Vec::new(),
            delayed: Vec::new(),
            told: BTreeMap::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn take_in(&mut self) {
        self.calls.extend(self.pods.calls());
        for event in self.pods.events() {
            let told = self.told.get_mut(&event.run()).unwrap();
            assert_ne!(*told, Told::Ended, "{event:?}");
            match &event {
                Event::Started { .. } => {
                    assert_eq!(*told, Told::Nothing, "{event:?}");
                    *told = Told::Started;
                }
                Event::Gone { run, .. } | Event::SpawnFailed { run, .. } => {
                    *told = Told::Ended;
                    let lives =
                        |seen: &&Seen| seen.run == *run && !matches!(seen.state, State::Ended(_));
                    let alive = self.server.pods.values().find(lives);
                    assert_eq!(alive, None, "{event:?}");
                    self.runs.retain(|_, of| of != run);
                }
                Event::Waits { .. } | Event::LeaderExited { .. } | Event::Examined { .. } => {}
            }
        }
    }

    fn spawn(&mut self, name: &str) {
        if self.runs.contains_key(name) {
            return;
        }
        let run = RunId(self.next_run);
        self.next_run += 1;
        self.runs.insert(name.to_owned(), run);
        self.told.insert(run, Told::Nothing);
        self.pods.spawn(run, entity(&name[..1]), manifest(run.0, name));
    }

    /// The watch shows what it has not shown, in order, or begins anew with what there is.
    fn watch(&mut self, anew: bool) {
        if anew {
            self.server.history.clear();
            self.pods.listed(self.server.pods.values().cloned().collect());
        } else if !self.server.history.is_empty() {
            match self.server.history.remove(0) {
                (seen, false) => self.pods.applied(seen),
                (seen, true) => self.pods.deleted(seen),
            }
        }
    }

    fn call(&mut self, faults: bool) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.remove(self.random.usize(..self.calls.len()));
        let name = call.name().to_owned();
        let answer = match self.random.u32(..10) {
            // It was not heard.
            0 if faults => Answer::Unknown("lost".to_owned()),
            // It was, and nobody knows.
            1 if faults => {
                self.server.answer(&call);
                Answer::Unknown("answer lost".to_owned())
            }
            2 if faults && matches!(call, Call::Create(_)) => Answer::Full("quota".to_owned()),
            _ => self.server.answer(&call),
        };
        self.late.push((name, answer));
    }

    fn answer(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let (name, answer) = self.late.remove(self.random.usize(..self.late.len()));
        if self.pods.answered(&name, answer).is_some() {
            self.delayed.push(name);
        }
    }

    fn step(&mut self, faults: bool) {
        let names = ["a-1", "a-2", "b-1"];
        let name = names[self.random.usize(..names.len())];
        match self.random.u32(..12) {
            0 if faults => self.spawn(name),
            1 if faults => {
                if let Some(run) = self.runs.get(name) {
                    self.pods.terminate(*run);
                }
            }
            2 if faults => {
                if let Some(run) = self.runs.get(name) {
                    self.pods.kill(*run);
                }
            }
            3 if faults => self.pods.forget(&entity(&name[..1]), &name[..2]),
            4 => {
                let anew = faults && self.random.u32(..4) == 0;
                self.watch(anew);
            }
            5 | 6 => self.call(faults),
            7 | 8 => self.answer(),
            9 => {
                for name in std::mem::take(&mut self.delayed) {
                    self.pods.again(&name);
                }
            }
            _ => {
                let what = if faults { self.random.u32(..6) } else { 0 };
                self.server.happen(name, what);
            }
        }
        self.take_in();
    }
}

#[test]
fn whatever_is_lost_or_late_each_run_comes_to_what_was_asked() {
    for seed in 0..3000 {
        let mut stage = Stage::new(seed);
        for _ in 0..200 {
            stage.step(true);
        }
        let ending: Vec<_> = stage.runs.iter().map(|(name, run)| (name.clone(), *run)).collect();
        for (_, run) in ending.iter().filter(|(_, run)| run.0 % 2 == 0) {
            stage.pods.kill(*run);
        }
        for _ in 0..2000 {
            stage.step(false);
        }
        for (name, run) in ending {
            if run.0 % 2 == 0 {
                assert_eq!(stage.told[&run], Told::Ended, "seed {seed}: {name} {run}");
            } else if stage.told[&run] != Told::Ended {
                assert_eq!(stage.told[&run], Told::Started, "seed {seed}: {name} {run}");
                assert_eq!(stage.server.pods[&name].run, run, "seed {seed}");
            }
        }
        // Nobody else's lives, and nothing moves.
        for seen in stage.server.pods.values() {
            let ended = matches!(seen.state, State::Ended(_));
            assert!(
                ended || stage.runs.get(&seen.name) == Some(&seen.run),
                "seed {seed}: {seen:?}"
            );
        }
        assert_eq!((stage.calls.len(), stage.late.len()), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_pod_that_ended_makes_room_for_the_next_run() {
    let mut stage = Stage::new(0);
    stage.spawn("a-1");
    stage.take_in();
    let created = stage.calls.remove(0);
    assert_eq!(created, Call::Create(manifest(0, "a-1")));
    let answer = stage.server.answer(&created);
    stage.pods.answered("a-1", answer);
    stage.server.happen("a-1", 0);
    stage.server.happen("a-1", 1);
    for _ in 0..3 {
        stage.watch(false);
        stage.take_in();
    }
    assert_eq!(stage.told[&RunId(0)], Told::Ended);
    // It stays to be looked at until it is in the way.
    assert_eq!(stage.calls, []);
    stage.spawn("a-1");
    stage.take_in();
    let uid = stage.server.pods["a-1"].uid.clone();
    assert_eq!(stage.calls, [Call::Delete { name: "a-1".to_owned(), uid, grace: None }]);
}

#[test]
fn a_pod_of_another_entity_is_left_alone() {
    let mut pods = Pods::default();
    let theirs = Seen {
        name: "x".to_owned(),
        uid: Uid("1".to_owned()),
        run: RunId(1),
        entity: entity("other"),
        state: on_a_node(),
        leaving: None,
    };
    pods.adopt(RunId(1), theirs);
    assert_eq!(pods.calls(), []);
    pods.events();
    let place = Place::Pod { pod: "x".to_owned(), node: "n".to_owned() };
    assert!(!pods.events().contains(&Event::Started { run: RunId(1), place }));
    pods.spawn(RunId(2), entity("mine"), manifest(2, "x"));
    assert_eq!(pods.calls(), []);
    let error = "pod x serves entity other already".to_owned();
    assert_eq!(pods.events(), [Event::SpawnFailed { run: RunId(2), error }]);
}
