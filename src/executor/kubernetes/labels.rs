//! What is written on pods: labels, by which they are found, and annotations.

/// The label that says which instance made a pod.
pub(super) const INSTANCE: &str = "runner.dev/instance";

/// The label that says which run it was made for.
pub(super) const RUN: &str = "runner.dev/run";

/// The annotation that says which entity it serves. No label: those cannot hold any id.
pub(super) const ENTITY: &str = "runner.dev/entity";

/// The annotation that says what it was made of, as JSON.
pub(super) const ORIGIN: &str = "runner.dev/origin";

/// The annotation that says why it was made.
pub(super) const REASON: &str = "runner.dev/reason";

/// The annotation that says to people what an object is for.
pub(super) const ABOUT: &str = "runner.dev/about";

/// What selects the pods of an instance.
pub(super) fn selector(instance: &str) -> String {
    format!("{INSTANCE}={instance}")
}
