//! The real binary, real processes, a real world over gRPC.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has said what is wrong"
)]

mod command_line;
mod confinement;
mod demo;
mod faults;
mod full_disk;
mod harness;
mod hostile;
mod logs;
mod reload;
mod replace;
mod scripted;
mod shutdown;
mod storm;
mod survival;
mod trees;
mod world_away;
