//! Intents: what an entity may do in a tick.

use std::time::Duration;

use super::object::REGROW_TICKS;
use super::{Refusal, State};
use crate::proto::intent::Action;
use crate::proto::{CollectIntent, Direction, EatIntent, MoveIntent, SubmitIntentRequest};
use crate::world::{BERRY, geometry};

impl State {
    /// Does what the intent says, at once. An intent for the next tick spends that tick early:
    /// one that arrives just before the border of two ticks is not refused for it, and nobody
    /// acts more often than once a tick. The deadline of a tick is its end.
    pub(in crate::world) fn act(
        &mut self,
        request: &SubmitIntentRequest,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.advance(now);
        let id = request.entity_id.as_str();
        self.check_lease(&request.lease_id, id)?;
        let (asked, current) = (request.tick_id, self.tick(now));
        if asked < current {
            return Err(Refusal::TooLate { asked, current });
        }
        if asked > current.saturating_add(1) {
            return Err(Refusal::TooEarly { asked, current });
        }
        if self.body(id).is_some_and(|body| asked <= body.acted) {
            return Err(Refusal::AlreadyActed(asked));
        }
        let action = request.intent.as_ref().and_then(|intent| intent.action.as_ref());
        match action.ok_or(Refusal::NoAction)? {
            Action::Move(intent) => self.walk(id, *intent)?,
            Action::Wait(_) => {}
            Action::Collect(intent) => self.collect(id, intent, current)?,
            Action::Eat(intent) => self.eat(id, intent, current)?,
        }
        if let Some(body) = self.body_mut(id) {
            body.acted = asked;
        }
        Ok(())
    }

    fn walk(&mut self, id: &str, intent: MoveIntent) -> Result<(), Refusal> {
        let direction = Direction::try_from(intent.direction).map_err(|_| Refusal::NoDirection)?;
        let from = self.place_of(id)?;
        let to = geometry::neighbour(from, direction).ok_or(Refusal::NoDirection)?;
        if !self.is_walkable(to) {
            return Err(Refusal::Blocked(to.0, to.1));
        }
        if let Some(body) = self.body_mut(id) {
            body.at = to;
        }
        Ok(())
    }

    fn collect(&mut self, id: &str, intent: &CollectIntent, tick: i64) -> Result<(), Refusal> {
        check_item(&intent.item_type, intent.amount)?;
        let from = self.place_of(id)?;
        let name = &intent.object_id;
        let object =
            self.objects.get_mut(name).ok_or_else(|| Refusal::NoSuchObject(name.clone()))?;
        if geometry::distance(from, object.definition.at) > 1 {
            return Err(Refusal::TooFar(name.clone()));
        }
        if !object.has_berry(tick) {
            return Err(Refusal::NoBerry(name.clone()));
        }
        object.ripe_from = Some(tick.saturating_add(REGROW_TICKS));
        if let Some(body) = self.body_mut(id) {
            body.berries = body.berries.saturating_add(1);
        }
        Ok(())
    }

    fn eat(&mut self, id: &str, intent: &EatIntent, tick: i64) -> Result<(), Refusal> {
        check_item(&intent.item_type, intent.amount)?;
        let amount = intent.amount.max(1);
        let body = self.body_mut(id).ok_or_else(|| Refusal::NoSuchEntity(id.to_owned()))?;
        if body.berries < amount {
            return Err(Refusal::NotEnough(body.berries));
        }
        body.berries -= amount;
        body.ate = Some(tick);
        Ok(())
    }

    fn place_of(&self, id: &str) -> Result<geometry::Place, Refusal> {
        self.body(id).map(|body| body.at).ok_or_else(|| Refusal::NoSuchEntity(id.to_owned()))
    }
}

/// Berries are all there is, so an unnamed item is a berry, and no amount means one.
fn check_item(kind: &str, amount: i32) -> Result<(), Refusal> {
    if !kind.is_empty() && kind != BERRY {
        return Err(Refusal::NoSuchItem(kind.to_owned()));
    }
    if amount < 0 { Err(Refusal::NegativeAmount) } else { Ok(()) }
}
