//! An entity of the world: when it is there, and what it has while it is.

use std::time::Duration;

use super::lease::Lease;
use crate::world::definition::EntityDefinition;
use crate::world::geometry::Place;

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) definition: EntityDefinition,
    pub(super) arrives_at: Duration,
    pub(super) leaves_at: Option<Duration>,
    pub(super) presence: Presence,
}

#[derive(Debug)]
pub(super) enum Presence {
    /// Not yet there.
    Expected,
    Here(Body),
    /// It came and left; only a changed definition brings it back.
    Left,
}

/// What an entity has while it is there.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) at: Place,
    pub(super) spawn_tick: i64,
    pub(super) lease: Option<Lease>,
    pub(super) berries: i32,
    /// The tick in which it last ate.
    pub(super) ate: Option<i64>,
    /// The latest tick that an intent has used.
    pub(super) acted: i64,
}

/// What falls due. The order decides between events of the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Expiry,
    Arrival,
    Departure,
}

impl Entity {
    pub(super) fn new(definition: EntityDefinition, now: Duration) -> Self {
        Self {
            arrives_at: now.saturating_add(definition.arrives_after),
            leaves_at: definition.leaves_after.map(|after| now.saturating_add(after)),
            definition,
            presence: Presence::Expected,
        }
    }

    /// Takes over a changed definition; true when it now looks different in the list.
    pub(super) fn redefine(&mut self, definition: EntityDefinition, now: Duration) -> bool {
        let old = &self.definition;
        let looks_different = old.kind != definition.kind || old.tags != definition.tags;
        let moved = old.at != definition.at;
        let retimed = old.arrives_after != definition.arrives_after
            || old.leaves_after != definition.leaves_after;
        if retimed {
            let Self { definition, arrives_at, leaves_at, presence } = Self::new(definition, now);
            (self.definition, self.arrives_at, self.leaves_at) =
                (definition, arrives_at, leaves_at);
            if matches!(self.presence, Presence::Left) {
                self.presence = presence;
            }
        } else {
            self.definition = definition;
        }
        match &mut self.presence {
            Presence::Here(body) => {
                if moved {
                    body.at = self.definition.at;
                }
                looks_different
            }
            Presence::Expected | Presence::Left => false,
        }
    }

    pub(super) fn body(&self) -> Option<&Body> {
        match &self.presence {
            Presence::Here(body) => Some(body),
            Presence::Expected | Presence::Left => None,
        }
    }

    pub(super) fn events_until(&self, now: Duration, mut tell: impl FnMut(Duration, Event)) {
        let left = self.leaves_at.filter(|at| *at <= now);
        match &self.presence {
            Presence::Expected if self.arrives_at <= now => {
                tell(self.arrives_at, Event::Arrival);
                if let Some(at) = left {
                    tell(at.max(self.arrives_at), Event::Departure);
                }
            }
            Presence::Here(body) => {
                if let Some(lease) = body.lease.as_ref().filter(|lease| lease.expires_at <= now) {
                    tell(lease.expires_at, Event::Expiry);
                }
                if let Some(at) = left {
                    tell(at, Event::Departure);
                }
            }
            Presence::Expected | Presence::Left => {}
        }
    }

    pub(super) fn next_event(&self) -> Option<Duration> {
        match &self.presence {
            Presence::Expected => Some(self.arrives_at),
            Presence::Here(body) => {
                let expiry = body.lease.as_ref().map(|lease| lease.expires_at);
                [self.leaves_at, expiry].into_iter().flatten().min()
            }
            Presence::Left => None,
        }
    }
}
