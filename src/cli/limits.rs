//! Whether the limits that a file asks for can be enforced on this machine.

use std::collections::BTreeSet;
use std::process;
use std::sync::Arc;

use tracing::warn;

use super::begun::births;
use super::settings::containment;
use crate::config::Config;
use crate::executor::Trees;
use crate::executor::gate::sandbox;
use crate::plan::{Enforceable, Limit, Template};

/// The limits that no agent of this configuration can do without.
pub(super) fn wanted(config: &Config) -> BTreeSet<Limit> {
    processes(config).flat_map(|template| template.confinement.limits.of_tree()).collect()
}

/// The templates whose agents are processes of this machine.
fn processes(config: &Config) -> impl Iterator<Item = &Arc<Template>> {
    config.rules.templates.iter().filter(|template| template.pod.is_none())
}

/// What could be enforced if a runner were started with this configuration. Nothing is tried if
/// it asks for no limit.
pub(super) fn enforceable(config: &Config) -> Enforceable {
    let no_sandbox = if walled(config) { sandbox::missing() } else { None };
    if processes(config).all(|template| template.confinement.limits.is_empty()) {
        return Enforceable { no_sandbox, ..Enforceable::default() };
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
        Err(_) => Enforceable { no_sandbox, ..Enforceable::default() },
    }
}

/// Whether there is an agent that is to be held to some files.
pub(super) fn walled(config: &Config) -> bool {
    processes(config).any(|template| template.confinement.sandbox.is_some())
}

/// Tells people which limits, and sandboxes, do not hold, as they were willing to run agents all the same.
pub(super) fn tell_missing(config: &Config, enforceable: &Enforceable) {
    for limit in wanted(config) {
        if let Some(reason) = enforceable.missing.get(&limit) {
            let limit = limit.name();
            warn!(event = "limits.missing", limit, %reason, "a limit that is not enforced here");
        }
    }
    if let Some(reason) = enforceable.no_sandbox.as_ref().filter(|_| walled(config)) {
        warn!(event = "sandbox.missing", %reason, "no agent is held to its sandbox here");
    }
}
