//! Which pods there are, which there should be, and what is to be asked of the cluster about that.
//!
//! ```text
//! executor: spawn, adopt, terminate, kill ─┐
//! watch: a whole list, a pod, a pod less ──┼──► Pods ──► calls (create, delete, look)
//! what came of a call ─────────────────────┘        └──► events
//! ```
//!
//! Pure: `call.rs` is what can be asked, `next.rs` what is asked and told now. What is to be done
//! follows from what is known, whatever came first. A call that may or may
//! not have been heard is made again, as each says which pod it is about; and until a pod is known
//! to be gone, no other is made in its place.

mod call;
mod next;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

pub(super) use self::call::{Answer, Call};
use super::manifest::Manifest;
use super::seen::{Seen, State, Uid};
use crate::executor::Event;
use crate::plan::{EntityId, Exit, Loss, RunId, Waits, WaitsFor};

/// The delay after the first call in a row that failed, and the longest one; each is twice the one
/// before.
const DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// How urgently a pod is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    InGoodOrder,
    Now,
}

#[derive(Debug)]
struct Run {
    entity: EntityId,
    name: String,
    /// Until it is made.
    manifest: Option<Manifest>,
    uid: Option<Uid>,
    end: Option<End>,
    /// What of that was asked of the cluster.
    end_asked: Option<End>,
    started: bool,
    leftovers: bool,
    waits: Option<Waits>,
    /// Why it could not be made, if another pod does not turn out to be the reason.
    refused: Option<String>,
}

/// A pod name, what is seen of it, and what is being done about it. One call at a time.
#[derive(Debug, Default)]
struct Slot {
    seen: Option<Seen>,
    /// Whether the watch has shown that pod, and so will show its end.
    confirmed: bool,
    /// Whether to ask which pod there is.
    doubted: bool,
    /// Whether what is left of a pod that ended is to go.
    unwanted: bool,
    run: Option<RunId>,
    calling: Option<Call>,
    /// Another pod of this name that was told to go.
    evicted: Option<Uid>,
    failures: u32,
}

/// All pods of an instance.
#[derive(Debug, Default)]
pub(super) struct Pods {
    runs: HashMap<RunId, Run>,
    slots: BTreeMap<String, Slot>,
    /// Slots that may have something to do.
    restless: BTreeSet<String>,
    events: Vec<Event>,
}

impl Pods {
    /// A pod is to be made for a run.
    pub(super) fn spawn(&mut self, run: RunId, entity: EntityId, manifest: Manifest) {
        let name = manifest.name.clone();
        let holder = self.slots.get(&name).and_then(|slot| self.runs.get(&slot.run?));
        if let Some(holder) = holder {
            let error = format!("pod {name} serves entity {} already", holder.entity);
            self.events.push(Event::SpawnFailed { run, error });
            return;
        }
        self.insert(run, entity, &name, (Some(manifest), None));
    }

    /// A pod that there is is the one of a run.
    pub(super) fn adopt(&mut self, run: RunId, seen: Seen) {
        let (entity, name, uid) = (seen.entity.clone(), seen.name.clone(), seen.uid.clone());
        self.insert(run, entity, &name, (None, Some(uid)));
        if let Some(it) = self.runs.get_mut(&run) {
            // That is known already.
            it.started = matches!(seen.state, State::Running { .. });
        }
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.seen = Some(seen);
            slot.confirmed = true;
        }
    }

    fn insert(
        &mut self,
        run: RunId,
        entity: EntityId,
        name: &str,
        (manifest, uid): (Option<Manifest>, Option<Uid>),
    ) {
        let slot = self.slots.entry(name.to_owned()).or_default();
        slot.run = Some(run);
        self.runs.insert(
            run,
            Run {
                entity,
                name: name.to_owned(),
                manifest,
                uid,
                end: None,
                end_asked: None,
                started: false,
                leftovers: false,
                waits: None,
                refused: None,
            },
        );
        self.restless.insert(name.to_owned());
    }

    /// A run is to end in good order.
    pub(super) fn terminate(&mut self, run: RunId) {
        self.end(run, End::InGoodOrder);
    }

    /// A run is to end now.
    pub(super) fn kill(&mut self, run: RunId) {
        self.end(run, End::Now);
    }

    fn end(&mut self, run: RunId, how: End) {
        if let Some(it) = self.runs.get_mut(&run) {
            it.end = it.end.max(Some(how));
            self.restless.insert(it.name.clone());
        }
    }

    /// What is left of an entity's ended agents is to go: of those whose name begins so.
    pub(super) fn forget(&mut self, entity: &EntityId, stem: &str) {
        let named = self.slots.range_mut(stem.to_owned()..);
        for (name, slot) in named.take_while(|(name, _)| name.starts_with(stem)) {
            let is_its = slot.seen.as_ref().is_some_and(|seen| seen.entity == *entity);
            if is_its && slot.run.is_none() {
                slot.unwanted = true;
                self.restless.insert(name.clone());
            }
        }
    }

    /// All pods that there were at some moment.
    pub(super) fn listed(&mut self, pods: Vec<Seen>) {
        let mut missing: BTreeSet<String> = self.slots.keys().cloned().collect();
        for seen in pods {
            missing.remove(&seen.name);
            self.applied(seen);
        }
        for name in missing {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            if slot.confirmed {
                self.left(&name);
            } else {
                // It was made while the list was.
                slot.doubted |= slot.seen.is_some();
                self.restless.insert(name);
            }
        }
    }

    /// The watch shows a pod.
    pub(super) fn applied(&mut self, seen: Seen) {
        let slot = self.slots.entry(seen.name.clone()).or_default();
        let another = slot.seen.as_ref().is_some_and(|known| known.uid != seen.uid);
        if another && !slot.confirmed {
            // It may be behind: one from before that which was made.
            slot.doubted = true;
            self.restless.insert(seen.name);
            return;
        }
        self.is_there(seen, true);
    }

    fn is_there(&mut self, seen: Seen, confirmed: bool) {
        let name = seen.name.clone();
        let before = self.slots.get(&name).and_then(|slot| slot.seen.as_ref());
        if before.is_some_and(|before| before.uid != seen.uid) {
            self.left(&name);
        }
        let slot = self.slots.entry(name.clone()).or_default();
        slot.seen = Some(seen);
        slot.confirmed = confirmed;
        self.restless.insert(name);
    }

    /// A pod is not there any more; this is the last that was seen of it.
    pub(super) fn deleted(&mut self, last: Seen) {
        let name = last.name.clone();
        let Some(slot) = self.slots.get_mut(&name) else { return };
        if slot.seen.as_ref().is_some_and(|seen| seen.uid != last.uid) {
            return;
        }
        slot.seen = Some(last);
        self.left(&name);
    }

    /// The pod of this name is not there any more.
    fn left(&mut self, name: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let last = slot.seen.take();
        slot.confirmed = false;
        // What is being asked may be answered with the pod that was.
        slot.doubted |= slot.calling.is_some();
        slot.unwanted = false;
        slot.evicted = None;
        self.restless.insert(name.to_owned());
        let Some(run) = slot.run else { return };
        let Some(it) = self.runs.get(&run) else { return };
        if it.uid.is_some() && it.uid.as_ref() == last.as_ref().map(|last| &last.uid) {
            let asked = it.end.is_some();
            let exit = match last.as_ref().map(|last| (&last.state, last.leaving)) {
                Some((State::Ended(exit) | State::Leftovers(exit), None)) => *exit,
                Some((State::Ended(exit) | State::Leftovers(exit), Some(_))) if asked => *exit,
                Some((_, _)) | None if asked => Exit::Unknown,
                Some((_, loss)) => Exit::Lost(loss.unwrap_or(Loss::Deleted)),
                None => Exit::Lost(Loss::Deleted),
            };
            self.over(run, exit);
        }
    }

    fn over(&mut self, run: RunId, exit: Exit) {
        self.ends(run, Event::Gone { run, exit });
    }

    /// Tells the last of a run, if it was not told yet.
    fn ends(&mut self, run: RunId, last: Event) {
        if let Some(it) = self.runs.remove(&run) {
            if let Some(slot) = self.slots.get_mut(&it.name) {
                slot.run = None;
            }
            self.events.push(last);
        }
    }

    /// What came of the call about this name; and after which delay to look at it again, if there
    /// is to be one.
    pub(super) fn answered(&mut self, name: &str, answer: Answer) -> Option<Duration> {
        let slot = self.slots.get_mut(name)?;
        let call = slot.calling.take()?;
        self.restless.insert(name.to_owned());
        let run = slot.run;
        match (call, answer) {
            (call, Answer::Unknown(_)) => {
                slot.doubted |= matches!(call, Call::Look { .. });
                if let Call::Delete { .. } = call {
                    slot.evicted = None;
                    if let Some(it) = run.and_then(|run| self.runs.get_mut(&run)) {
                        it.end_asked = None;
                    }
                }
                return Some(self.failed(name));
            }
            (Call::Create(_), Answer::Full(message)) => {
                if let Some(run) = run {
                    self.waits(run, Some(Waits { on: WaitsFor::Room, message }));
                }
                return Some(self.failed(name));
            }
            (Call::Create(manifest), Answer::Pod(seen)) => {
                slot.failures = 0;
                let known = slot.seen.as_ref().is_some_and(|known| known.uid == seen.uid);
                if let Some(it) = run.and_then(|run| self.runs.get_mut(&run))
                    && it.manifest.as_ref() == Some(&manifest)
                {
                    it.uid = Some(seen.uid.clone());
                    it.manifest = None;
                    it.refused = None;
                }
                if !known {
                    slot.seen = Some(seen);
                    slot.confirmed = false;
                }
            }
            (Call::Create(_), Answer::Refused(why)) => {
                if let Some(it) = run.and_then(|run| self.runs.get_mut(&run)) {
                    it.refused = Some(why);
                }
                slot.doubted = true;
            }
            (Call::Look { .. }, Answer::Pod(seen)) => {
                slot.failures = 0;
                let same = slot.seen.as_ref().is_some_and(|known| known.uid == seen.uid);
                let confirmed = slot.confirmed && same;
                self.is_there(seen, confirmed);
            }
            (Call::Look { .. }, Answer::None) => {
                slot.failures = 0;
                self.left(name);
                self.not_made(run, None);
            }
            (Call::Look { .. }, Answer::Foreign) => {
                let why = format!("somebody else has made a pod {name}");
                self.not_made(run, Some(why));
            }
            (Call::Delete { uid, .. }, Answer::None | Answer::Refused(_) | Answer::Foreign) => {
                // There may be another one of its name.
                slot.doubted |= slot.seen.as_ref().is_some_and(|seen| seen.uid == uid);
            }
            (_, _) => slot.failures = 0,
        }
        None
    }

    /// Nothing is in the way of a pod that could not be made, or nothing that could be moved.
    fn not_made(&mut self, run: Option<RunId>, why: Option<String>) {
        let Some(run) = run else { return };
        let Some(it) = self.runs.get_mut(&run).filter(|it| it.uid.is_none()) else { return };
        if it.end.is_some() {
            self.over(run, Exit::Unknown);
        } else if let Some(error) = why.or(it.refused.take()) {
            self.ends(run, Event::SpawnFailed { run, error });
        }
    }

    fn failed(&mut self, name: &str) -> Duration {
        self.restless.remove(name);
        let Some(slot) = self.slots.get_mut(name) else { return DELAY.1 };
        let delay = DELAY.0.saturating_mul(1 << slot.failures.min(10)).min(DELAY.1);
        slot.failures = slot.failures.saturating_add(1);
        delay
    }

    /// The delay about this name is over.
    pub(super) fn again(&mut self, name: &str) {
        self.restless.insert(name.to_owned());
    }

    /// What is to be asked now, at most one call about a name until it is answered.
    pub(super) fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        for name in std::mem::take(&mut self.restless) {
            self.tell(&name);
            let call = self.next(&name);
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            if let Some(call) = call {
                debug_assert_eq!(call.name(), name);
                slot.calling = Some(call.clone());
                calls.push(call);
            } else if slot.run.is_none() && slot.seen.is_none() && slot.calling.is_none() {
                self.slots.remove(&name);
            }
        }
        calls
    }

    /// Whether there is nothing to be asked, nothing under way, and nothing that is to go.
    pub(super) fn is_at_rest(&self) -> bool {
        let rests = |slot: &Slot| slot.calling.is_none() && !slot.unwanted;
        self.restless.is_empty() && self.slots.values().all(rests)
    }

    /// What happened since it was last asked.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests;
