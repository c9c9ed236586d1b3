//! Which of several runners of one instance may act: the one that holds its Lease.
//!
//! ```text
//! shown (watch) ──┐
//! answered ───────┼──► Elector ──► calls (look, write)
//! now ────────────┘        └─────► may act until
//! ```
//!
//! Pure. Every write names the version that it replaces, so of two that mean to take the lease one
//! is refused. Who waits counts the lease's time from when it saw the last change, by its own clock;
//! who holds it counts from before it asked, and stops earlier. So no two clocks are compared, and
//! whatever is late or lost, never do two act at once.

use std::time::Duration;

use crate::plan::Time;

/// How long a lease holds that nobody renews.
pub(super) const DURATION: Duration = Duration::from_secs(10);

/// How long its holder may act after it last asked: what it has asked for by then is to be over
/// before anybody else may act.
pub(super) const ACTS: Duration = Duration::from_secs(8);

/// How long the holder waits from one renewal to the next.
const RENEWAL: Duration = Duration::from_secs(3);

/// The delay after a call of which nobody knows whether it was heard.
const AGAIN: Duration = Duration::from_millis(500);

/// The lease, as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Who holds it; none: it was given back.
    pub(super) holder: Option<String>,
    /// How long it holds without a renewal.
    pub(super) duration: Duration,
    /// How often it came to another holder.
    pub(super) transitions: i32,
    /// Which version of the object this is.
    pub(super) version: String,
}

/// What is to be asked of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Say what the lease is.
    Look,
    /// Let us hold it.
    Write {
        /// The version that this replaces; none: there is no lease yet.
        over: Option<String>,
        /// How often it came to another holder by then.
        transitions: i32,
        /// Whether we did not hold it before.
        taken: bool,
    },
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This is the lease now.
    Lease(Lease),
    /// There is none.
    None,
    /// Another version was to be replaced.
    Conflict,
    /// Nobody knows whether it was heard.
    Unknown,
}

/// Where we stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody else holds it, or nobody yet.
    Waits,
    /// We do.
    Leads,
    /// We did, and somebody else does now.
    Ousted,
}

/// One of those that mean to hold a lease.
#[derive(Debug)]
pub(super) struct Elector {
    me: String,
    standing: Standing,
    /// Whether it had the lease before it began to ask.
    resumed: bool,
    /// What the lease was last, and since when that is known; not known at first.
    known: Option<(Option<Lease>, Time)>,
    /// Whether it may be something else by now.
    doubted: bool,
    acts_until: Time,
    /// Since when a call is under way.
    asked: Option<(Time, Call)>,
    /// Not before this is anything asked.
    not_before: Time,
}

impl Elector {
    pub(super) fn new(me: String) -> Self {
        Self {
            me,
            standing: Standing::Waits,
            resumed: false,
            known: None,
            doubted: false,
            acts_until: Time::default(),
            asked: None,
            not_before: Time::default(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Until when it may act; it is over if that is not later than now.
    pub(super) fn acts_until(&self) -> Time {
        self.acts_until
    }

    /// Who holds it, as far as that is known.
    pub(super) fn holder(&self) -> Option<&str> {
        self.known.as_ref()?.0.as_ref()?.holder.as_deref()
    }

    /// Whether nobody else had it since we last did: what we remember still holds.
    pub(super) fn resumed(&self) -> bool {
        self.resumed
    }

    /// Somebody says what the lease is, and may be behind. Who leads learns it from its own calls.
    pub(super) fn shown(&mut self, lease: Option<Lease>, now: Time) {
        if self.standing == Standing::Waits && self.asked.is_none() {
            self.learn(lease, now);
        }
    }

    fn learn(&mut self, lease: Option<Lease>, now: Time) {
        self.doubted = false;
        if self.known.as_ref().is_none_or(|(known, _)| *known != lease) {
            self.known = Some((lease, now));
        }
    }

    /// When there is something to be asked, if nothing happens before.
    pub(super) fn due(&self) -> Option<Time> {
        if self.asked.is_some() || self.standing == Standing::Ousted {
            return None;
        }
        Some(self.not_before.max(self.free_at()))
    }

    /// When we may write.
    fn free_at(&self) -> Time {
        let Some((Some(lease), since)) = &self.known else { return Time::default() };
        let is_free = lease.holder.as_ref().is_none_or(|holder| *holder == self.me);
        if is_free || self.doubted { Time::default() } else { *since + lease.duration }
    }

    /// What is to be asked now.
    pub(super) fn call(&mut self, now: Time) -> Option<Call> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let call = match &self.known {
            None => Call::Look,
            Some(_) if self.doubted => Call::Look,
            Some((None, _)) => Call::Write { over: None, transitions: 0, taken: true },
            Some((Some(lease), _)) => {
                let taken = lease.holder.as_ref() != Some(&self.me);
                let transitions = lease.transitions.saturating_add(i32::from(taken));
                Call::Write { over: Some(lease.version.clone()), transitions, taken }
            }
        };
        self.asked = Some((now, call.clone()));
        Some(call)
    }

    /// What came of the call that is under way.
    pub(super) fn answered(&mut self, answer: Answer, now: Time) {
        let Some((asked_at, call)) = self.asked.take() else { return };
        match (answer, call) {
            (Answer::Lease(lease), Call::Write { taken, .. }) => {
                self.learn(Some(lease), now);
                self.resumed |= self.standing == Standing::Waits && !taken;
                self.standing = Standing::Leads;
                self.acts_until = asked_at + ACTS;
                self.not_before = asked_at + RENEWAL;
            }
            (Answer::Lease(lease), Call::Look) => {
                let is_anothers = lease.holder.as_ref().is_some_and(|holder| *holder != self.me);
                self.learn(Some(lease), now);
                self.not_before = now;
                if self.standing == Standing::Leads && is_anothers {
                    self.standing = Standing::Ousted;
                    self.acts_until = Time::default();
                }
            }
            (Answer::None, _) => {
                self.learn(None, now);
                self.not_before = now;
            }
            // What it was is not so any more; our own write may be why.
            (Answer::Conflict, _) => {
                self.doubted = true;
                self.not_before = now;
            }
            (Answer::Unknown, _) => {
                self.doubted = true;
                self.not_before = now + AGAIN;
            }
        }
    }
}

#[cfg(test)]
mod tests;
