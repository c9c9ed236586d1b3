//! What the world's answers prove about who is gone, counted from outside: the rule of
//! `design/decisions/0003-membership.md`, written a second time.

use std::collections::BTreeMap;

use runner::plan::{Answer, EntityId, Heard, Rules, Time};

/// What the runner has heard since contact was last lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hearsay {
    /// The answers in a row that lack an entity.
    pub(crate) lacking: BTreeMap<EntityId, u32>,
    /// Since when each answer was empty.
    pub(crate) empty_since: Option<Time>,
}

impl Hearsay {
    /// What answers said counts no more.
    pub(crate) fn forget(&mut self) {
        self.lacking.values_mut().for_each(|answers| *answers = 0);
        self.empty_since = None;
    }

    /// The runner hears this.
    pub(crate) fn hear(&mut self, answer: &Answer) {
        let counts = matches!(answer.heard, Heard::Asked(_));
        for entity in answer.entities.iter() {
            self.lacking.insert(entity.id.clone(), 0);
        }
        for (id, answers) in &mut self.lacking {
            if counts && answer.entities.get(id.as_str()).is_none() {
                *answers += 1;
            }
        }
        if !answer.entities.is_empty() {
            self.empty_since = None;
        } else if counts {
            self.empty_since.get_or_insert(answer.at);
        }
    }

    /// Whether an entity may count as gone, or else why not.
    pub(crate) fn proves_gone(
        &self,
        id: &EntityId,
        rules: &Rules,
        now: Time,
    ) -> Result<(), String> {
        let answers = self.lacking.get(id).copied().unwrap_or(0);
        if answers < rules.removal.confirmations {
            return Err(format!("{id} is removed after {answers} answers that lack it"));
        }
        if self.empty_since.is_some_and(|since| now - since < rules.removal.hold) {
            return Err(format!("{id} is removed by an empty answer that has not stood"));
        }
        Ok(())
    }
}
