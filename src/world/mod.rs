//! The embedded demo world, a real server of `proto/world.proto`, and its forager.

pub mod definition;

pub use definition::{Definition, EntityDefinition, ObjectDefinition};
