//! What an agent is besides a command where it runs in a cluster: the rest of its pod.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the pod of an agent is made of, besides what the runner says in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTemplate {
    /// The image of its container.
    pub image: String,
    /// A manifest of a pod without what the runner adds: `metadata` with labels and annotations,
    /// `spec`, and in its `containers` one named [`CONTAINER`].
    pub manifest: Value,
    /// A pod's `spec` that is merged over all that, but for what tells the runner which pod it is.
    pub overrides: Value,
}

/// The label that says who looks after an object, by the recommendation of Kubernetes; all that the
/// runner makes has it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The container of a pod that is the agent.
pub const CONTAINER: &str = "agent";

impl PodTemplate {
    /// The same for equal pods, in one line.
    #[must_use]
    pub fn digest_part(&self) -> String {
        format!("{}\0{}\0{}", self.image, self.manifest, self.overrides)
    }
}
