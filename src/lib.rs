//! A declarative reconciler for agent processes: exactly one agent for every entity of a world.
//!
//! The flow, and where each part of it lives, is drawn in `design/architecture.md`.

pub mod account;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod credentials;
pub mod discovery;
pub mod events;
pub mod executor;
#[doc(hidden)]
pub mod fault;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
pub mod hooks;
pub mod metrics;
pub mod plan;
pub mod project;
mod quantity;
pub mod reconcile;
pub mod state;
mod text;
pub mod traces;
pub mod world;

/// The types generated from `proto/world.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    unused_qualifications,
    reason = "generated code"
)]
pub mod proto {
    tonic::include_proto!("world");

    /// The types generated from `proto/runner/v1/control.proto`.
    pub mod control {
        tonic::include_proto!("runner.v1");

        /// The file itself, as reflection tells of it.
        pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));
    }
}
