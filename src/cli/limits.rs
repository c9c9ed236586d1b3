//! Whether the limits that a file asks for can be enforced on this machine.

use std::collections::BTreeSet;
use std::process;

use tracing::warn;

use super::reconcile::births;
use super::settings::containment;
use crate::config::Config;
use crate::executor::Trees;
use crate::plan::{Enforceable, Limit};

/// The limits that no agent of this configuration can do without.
pub(super) fn wanted(config: &Config) -> BTreeSet<Limit> {
    let templates = config.rules.templates.iter();
    templates.flat_map(|template| template.confinement.limits.of_tree()).collect()
}

/// What could be enforced if a runner were started with this configuration. Nothing is tried if
/// it asks for no limit.
pub(super) fn enforceable(config: &Config) -> Enforceable {
    let templates = &config.rules.templates;
    if templates.iter().all(|template| template.confinement.limits.is_empty()) {
        return Enforceable::default();
    }
    // Nobody's agents, so that no runner is disturbed.
    let instance = format!("process {}", process::id());
    let tried =
        Trees::probe_for(&instance, containment(config.containment), &births(), &wanted(config));
    match tried {
        Ok(trees) => {
            trees.close();
            trees.enforceable()
        }
        // That the runner cannot be started, it says itself.
        Err(_) => Enforceable::default(),
    }
}

/// Tells people which limits do not hold, as they were willing to run agents all the same.
pub(super) fn tell_missing(config: &Config, enforceable: &Enforceable) {
    for limit in wanted(config) {
        if let Some(reason) = enforceable.missing.get(&limit) {
            let limit = limit.name();
            warn!(event = "limits.missing", limit, %reason, "a limit that is not enforced here");
        }
    }
}
