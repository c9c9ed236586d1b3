//! Where an agent runs, and what it waits for there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an agent waits for in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// What for.
    pub on: WaitsFor,
    /// What the cluster says of it.
    pub message: String,
}

/// What for an agent can wait in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitsFor {
    /// For nothing but time: its pod is there, and it is placed and made ready.
    Placement,
    /// No node can take it.
    Room,
    /// Its image cannot be had.
    Image,
    /// Its container cannot be made, for another reason.
    Container,
    /// Its node gives no sign of life. It may run all the same.
    Node,
}

impl WaitsFor {
    /// The word for it, for programs; as Kubernetes has it, where it has one.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Placement => "Placing",
            Self::Room => "Unschedulable",
            Self::Image => "ImagePull",
            Self::Container => "CreateContainer",
            Self::Node => "NodeLost",
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on, message } = self;
        let what = match on {
            WaitsFor::Placement => "its pod is being placed",
            WaitsFor::Room => "no node can take it",
            WaitsFor::Image => "its image cannot be had",
            WaitsFor::Container => "its container cannot be made",
            WaitsFor::Node => "its node gives no sign of life",
        };
        if message.is_empty() { f.write_str(what) } else { write!(f, "{what}: {message}") }
    }
}

/// Where an agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// On this machine.
    Process {
        /// Its process, and process group.
        pid: u32,
    },
    /// In a cluster.
    Pod {
        /// The name of its pod.
        pod: String,
        /// The name of the node that the pod is on.
        node: String,
    },
}

impl Place {
    /// Its process, if it is one of this machine.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        match self {
            Self::Process { pid } => Some(*pid),
            Self::Pod { .. } => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid } => write!(f, "process {pid}"),
            Self::Pod { pod, node } => write!(f, "pod {pod} on node {node}"),
        }
    }
}
