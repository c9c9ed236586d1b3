//! What is told of a run, and what is to be asked about its pod, as things are.

use super::{Call, End, Pods, Slot};
use crate::executor::Event;
use crate::executor::kubernetes::seen::State;
use crate::plan::{Exit, Place, RunId, Waits};

impl Pods {
    /// Tells what is seen of a run.
    pub(super) fn tell(&mut self, name: &str) {
        let Some(slot) = self.slots.get(name) else { return };
        let (Some(run), Some(seen)) = (slot.run, slot.seen.clone()) else { return };
        let Some(it) = self.runs.get_mut(&run) else { return };
        if it.uid.as_ref() != Some(&seen.uid) {
            return;
        }
        match seen.state {
            State::Waiting(waits) => self.waits(run, Some(waits)),
            State::Running { node, waits } => {
                if !it.started {
                    it.started = true;
                    let place = Place::Pod { pod: name.to_owned(), node };
                    self.events.push(Event::Started { run, place });
                }
                self.waits(run, waits);
            }
            State::Leftovers(exit) => {
                if !it.leftovers {
                    it.leftovers = true;
                    self.events.push(Event::LeaderExited { run, exit });
                }
            }
            State::Ended(exit) => {
                let exit = match seen.leaving {
                    Some(loss) if it.end.is_none() => Exit::Lost(loss),
                    Some(_) | None => exit,
                };
                self.over(run, exit);
            }
        }
    }

    pub(super) fn waits(&mut self, run: RunId, waits: Option<Waits>) {
        if let Some(it) = self.runs.get_mut(&run)
            && it.waits != waits
        {
            it.waits.clone_from(&waits);
            self.events.push(Event::Waits { run, waits });
        }
    }

    /// What is to be asked about a name.
    pub(super) fn next(&mut self, name: &str) -> Option<Call> {
        let slot = self.slots.get_mut(name)?;
        if slot.calling.is_some() {
            return None;
        }
        if std::mem::take(&mut slot.doubted) {
            return Some(Call::Look { name: name.to_owned() });
        }
        let Some(run) = slot.run else { return rest(slot) };
        let it = self.runs.get_mut(&run)?;
        let Some(uid) = &it.uid else {
            if it.end.is_some() {
                // It was called off before it was made; or that was asked, and nobody knows.
                if slot.seen.is_none() {
                    if slot.failures > 0 {
                        return Some(Call::Look { name: name.to_owned() });
                    }
                    self.over(run, Exit::Unknown);
                    return None;
                }
            }
            return match &slot.seen {
                Some(seen) if seen.entity != it.entity => {
                    let error = format!("pod {name} serves entity {} already", seen.entity);
                    self.not_made(Some(run), Some(error));
                    None
                }
                // That of this very run: the answer to its making was lost.
                Some(seen) if seen.run == run => {
                    it.uid = Some(seen.uid.clone());
                    it.manifest = None;
                    self.tell(name);
                    self.next(name)
                }
                Some(_) => evict(slot),
                None => it.manifest.clone().map(Call::Create),
            };
        };
        if it.end > it.end_asked {
            it.end_asked = it.end;
            let grace = (it.end == Some(End::Now)).then_some(1);
            return Some(Call::Delete { name: name.to_owned(), uid: uid.clone(), grace });
        }
        None
    }
}

/// What is to be asked about a name that no run has: an agent of nobody's is ended, and what is left
/// of one that ended stays to be looked at, until that is not wanted any more.
fn rest(slot: &mut Slot) -> Option<Call> {
    let seen = slot.seen.as_ref()?;
    let ended = matches!(seen.state, State::Ended(_));
    if ended && !slot.unwanted {
        return None;
    }
    evict(slot)
}

/// Has the pod go that there is, once.
fn evict(slot: &mut Slot) -> Option<Call> {
    let seen = slot.seen.as_ref()?;
    if slot.evicted.as_ref() == Some(&seen.uid) {
        return None;
    }
    slot.evicted = Some(seen.uid.clone());
    Some(Call::Delete { name: seen.name.clone(), uid: seen.uid.clone(), grace: None })
}
