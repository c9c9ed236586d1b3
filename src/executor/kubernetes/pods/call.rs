//! What can be asked of a cluster about one pod, and what comes of it.

use crate::executor::kubernetes::manifest::Manifest;
use crate::executor::kubernetes::seen::{Seen, Uid};

/// What is to be asked of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::executor::kubernetes) enum Call {
    /// Make a pod. Made again, it changes nothing.
    Create(Manifest),
    /// Delete this very pod; `grace` is the time it has to end, in seconds, if not its own.
    Delete {
        /// Its name.
        name: String,
        /// Which pod of that name.
        uid: Uid,
        /// At least 1: after 0 nobody would know whether it has ended.
        grace: Option<u32>,
    },
    /// Say what pod there is of this name.
    Look {
        /// The name.
        name: String,
    },
}

impl Call {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Create(manifest) => &manifest.name,
            Self::Delete { name, .. } | Self::Look { name } => name,
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::executor::kubernetes) enum Answer {
    /// There is this pod.
    Pod(Seen),
    /// There is no such pod.
    None,
    /// A pod of somebody else has the name.
    Foreign,
    /// It was heard, and will be done.
    Done,
    /// Another pod has the name, or the pod that is asked for is none.
    Refused(String),
    /// It cannot be done for want of something that may come.
    Full(String),
    /// Nobody knows whether it was heard.
    Unknown(String),
}
