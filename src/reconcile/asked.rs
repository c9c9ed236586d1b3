//! What is asked of the loop: to be looked at, and what the user orders.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AskWorld, Look, News, Order, Reconciler, Remember, Request, report};
use crate::executor::Executor;
use crate::plan::{CannotSteer, EntityId, Intent, Steer};

impl<E: Executor, W: AskWorld, M: Remember> Reconciler<E, W, M> {
    pub(super) fn answer(&mut self, request: Request) {
        // Who asked and has gone away since needs no answer.
        match request {
            Request::Look(look) => {
                let _ = look.send(self.look());
            }
            Request::Steer { template, steer, done } => {
                let _ = done.send(self.steer(&template, steer));
            }
            Request::Ready(ready) => {
                let _ = ready.send(self.membership.is_some() && self.intent == Intent::Run);
            }
            Request::Order { order, ids, done } => {
                let _ = done.send(self.order(order, ids));
            }
        }
    }

    fn look(&mut self) -> Look {
        Look {
            now: self.clock.now(),
            intent: self.intent,
            desired: self.desired(),
            observed: self.observed.clone(),
            membership: self.membership.clone(),
            entities: self.sources.view.borrow().latest.as_ref().map(|it| Arc::clone(&it.entities)),
            pending: self.pending.clone(),
            settings: Arc::clone(&self.settings),
            orders: self.orders.clone(),
        }
    }

    fn order(&mut self, order: Order, ids: BTreeSet<EntityId>) -> Result<(), Vec<EntityId>> {
        let is_known = |id: &EntityId| {
            self.membership.as_ref().is_some_and(|membership| membership.knows(id))
                || self.observed.agents.contains_key(id)
                || self.orders.suspended.contains(id)
        };
        let unknown: Vec<_> = ids.iter().filter(|id| !is_known(id)).cloned().collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let now = self.clock.now();
        for id in ids {
            report::order(order, &id);
            match order {
                Order::Restart => {
                    self.orders.restarts.insert(id, now);
                }
                Order::Suspend => {
                    self.orders.suspended.insert(id);
                }
                Order::Resume => {
                    self.orders.suspended.remove(&id);
                }
            }
        }
        self.ordered();
        Ok(())
    }

    fn steer(&mut self, template: &str, steer: Steer) -> Result<(), CannotSteer> {
        let now = self.clock.now();
        Arc::make_mut(&mut self.orders.rollouts).steer(template, steer, now)?;
        report::steered(template, steer);
        self.ordered();
        Ok(())
    }

    /// The user asked for something: that is written down before it is confirmed.
    fn ordered(&mut self) {
        self.memory.orders(&self.orders);
        self.memory.commit();
        self.desired = None;
        self.news = News::Any;
    }
}
