//! An object of the world: where it stands, and when it bears a berry.

use crate::world::definition::ObjectDefinition;

/// How many ticks a picked object takes to bear again.
pub(super) const REGROW_TICKS: i64 = 20;

#[derive(Debug)]
pub(super) struct Object {
    pub(super) definition: ObjectDefinition,
    /// The tick from which it bears a berry; none: it never does.
    pub(super) ripe_from: Option<i64>,
}

impl Object {
    pub(super) fn new(definition: ObjectDefinition, tick: i64) -> Self {
        let ripe_from = match (definition.has_berry, definition.kind.as_str()) {
            (true, _) => Some(0),
            (false, "bush") => Some(tick.saturating_add(REGROW_TICKS)),
            (false, _) => None,
        };
        Self { definition, ripe_from }
    }

    pub(super) fn has_berry(&self, tick: i64) -> bool {
        self.ripe_from.is_some_and(|from| from <= tick)
    }
}
