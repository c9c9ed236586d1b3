//! Who may act for an entity, and for how long.

use std::time::Duration;

use super::{Refusal, State};

/// How long a lease lasts from its acquisition or last renewal.
pub(in crate::world) const LEASE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) id: String,
    pub(super) controller: String,
    pub(super) expires_at: Duration,
}

/// A lease as its holder is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::world) struct Grant {
    pub(in crate::world) lease_id: String,
    /// Unix time in milliseconds.
    pub(in crate::world) expires_at_ms: i64,
}

impl State {
    /// Gives the lease, or renews the one that the same controller has already: that is how the
    /// replacement of a killed agent goes on without waiting for the expiry.
    pub(in crate::world) fn acquire(
        &mut self,
        entity_id: &str,
        controller: &str,
        now: Duration,
    ) -> Result<Grant, Refusal> {
        self.advance(now);
        if controller.is_empty() {
            return Err(Refusal::NoController);
        }
        let body =
            self.body(entity_id).ok_or_else(|| Refusal::NoSuchEntity(entity_id.to_owned()))?;
        match &body.lease {
            Some(lease) if lease.controller == controller => {
                let lease_id = lease.id.clone();
                self.renew(&lease_id, now)
            }
            Some(lease) => Err(Refusal::Held {
                entity: entity_id.to_owned(),
                holder: lease.controller.clone(),
            }),
            None => Ok(self.give_lease(entity_id, controller, now)),
        }
    }

    pub(in crate::world) fn renew(
        &mut self,
        lease_id: &str,
        now: Duration,
    ) -> Result<Grant, Refusal> {
        self.advance(now);
        let expires_at = now.saturating_add(LEASE);
        let entity_id = self.leases.get(lease_id).cloned().ok_or(Refusal::NoSuchLease)?;
        let lease = self.body_mut(&entity_id).and_then(|body| body.lease.as_mut());
        lease.ok_or(Refusal::NoSuchLease)?.expires_at = expires_at;
        Ok(Grant { lease_id: lease_id.to_owned(), expires_at_ms: self.unix_ms(expires_at) })
    }

    pub(in crate::world) fn release(
        &mut self,
        lease_id: &str,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.advance(now);
        let entity_id = self.leases.get(lease_id).cloned().ok_or(Refusal::NoSuchLease)?;
        self.drop_lease(&entity_id);
        Ok(())
    }

    /// Ok when the entity is there and the lease is its own.
    pub(in crate::world) fn check_lease(
        &self,
        lease_id: &str,
        entity_id: &str,
    ) -> Result<(), Refusal> {
        let body =
            self.body(entity_id).ok_or_else(|| Refusal::NoSuchEntity(entity_id.to_owned()))?;
        match &body.lease {
            Some(lease) if lease.id == lease_id => Ok(()),
            Some(_) | None => Err(Refusal::NoSuchLease),
        }
    }

    pub(super) fn drop_lease(&mut self, entity_id: &str) {
        let Some(lease) = self.body_mut(entity_id).and_then(|body| body.lease.take()) else {
            return;
        };
        self.leases.remove(&lease.id);
        self.tell_of(entity_id);
    }

    fn give_lease(&mut self, entity_id: &str, controller: &str, now: Duration) -> Grant {
        self.leases_given = self.leases_given.saturating_add(1);
        // The epoch keeps a lease of a former run of this world from meaning another one now.
        let id = format!("lease-{}-{}", self.epoch_ms, self.leases_given);
        let expires_at = now.saturating_add(LEASE);
        if let Some(body) = self.body_mut(entity_id) {
            body.lease =
                Some(Lease { id: id.clone(), controller: controller.to_owned(), expires_at });
        }
        self.leases.insert(id.clone(), entity_id.to_owned());
        self.falls_due(expires_at);
        self.tell_of(entity_id);
        Grant { lease_id: id, expires_at_ms: self.unix_ms(expires_at) }
    }
}
