//! How a change is brought to agents: a key of `[runner]` that a template may override.

use super::keys::Table;
use super::section::Section;
use crate::plan::RolloutPolicy;

/// As the section says, and where it says nothing, as `default`.
pub(super) fn read(section: &Section<'_>, default: RolloutPolicy) -> RolloutPolicy {
    let table = section.table("rollout", Table::Rollout);
    let min_ready = i64::try_from(default.min_ready.as_millis()).unwrap_or(i64::MAX);
    RolloutPolicy {
        max_unavailable: table.share("max_unavailable", default.max_unavailable).value,
        min_ready: table.millis("min_ready_ms", 0, min_ready).value,
        pause_on_failure: table.flag("pause_on_failure", default.pause_on_failure).value,
    }
}
