//! The real binary, real processes, a real world over gRPC.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has said what is wrong"
)]

mod churn;
mod command_line;
mod completions;
mod confinement;
mod containers;
mod control;
mod damage;
mod demo;
mod doctor;
mod export;
mod faults;
mod full_disk;
mod harness;
mod hooks;
mod hostile;
mod limits;
mod logs;
mod metrics;
mod outputs;
mod owners;
mod pid_reuse;
mod reload;
mod replace;
mod rollout;
mod sandbox;
mod scripted;
mod security;
mod sequences;
mod shutdown;
mod storm;
mod stranger;
mod survival;
mod telemetry;
mod trees;
#[expect(dead_code, reason = "the figures use the rest of it")]
mod upheaval;
mod verbs;
#[expect(dead_code, reason = "the figures use the rest of it")]
mod vitals;
mod why;
mod world_away;
