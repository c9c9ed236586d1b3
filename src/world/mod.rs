//! The embedded demo world, a real server of `proto/world.proto`, and its forager.
//!
//! ```text
//! Definition ──► State (pure: rules, time as an argument) ◄── Core (lock, clock, events) ◄── services (gRPC)
//!                                                                     agent (the forager) ──── a client like any other
//! ```
//!
//! The room knows nothing of the runner: whatever works against this server works against
//! another one that keeps the contract.

pub mod agent;
pub mod definition;

mod core;
mod geometry;
mod server;
mod services;
mod state;

#[cfg(test)]
mod tests;

pub use definition::{Definition, EntityDefinition, ObjectDefinition};
pub use server::{Handle, ServeError, World, serve};

/// The one kind of item.
const BERRY: &str = "berry";

/// The key in an object's state that says whether it bears a berry: `true` or `false`.
const HAS_BERRY: &str = "has_berry";
