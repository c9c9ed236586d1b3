//! The pure room: what should be, what is, and what is to be done about the difference.
//!
//! ```text
//! Answer ──Membership──► Desired ─┐
//! Rules ──────────────────────────┤
//!                                 ├── plan(&desired, &observed, now) ──► Plan
//! events ──────────────► Observed ┘                                       │
//!             ▲───────────────────────── Observed::note ◄── carried out ──┘
//! ```
//!
//! Data in, data out; `now` is an argument. Nothing here reads a clock, a file or a socket, or
//! knows of processes: clippy refuses the types that could, and a test reads the imports.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod action;
pub mod answer;
pub mod confinement;
mod decide;
pub mod desired;
pub mod entity;
#[cfg(any(test, fuzzing))]
pub(crate) mod fixture;
pub mod limits;
pub mod membership;
pub mod observed;
pub mod pace;
pub mod place;
pub mod pod;
pub mod reason;
pub mod restart;
pub mod rollout;
pub mod run;
#[cfg(any(test, fuzzing))]
pub(crate) mod safety;
pub mod sandbox;
pub mod storm;
pub mod template;
pub mod time;

pub use action::{Action, Plan, Start, Verb};
pub use answer::{Answer, Entities, Heard, Refused};
pub use confinement::Confinement;
pub use decide::{plan, plan_for};
pub use desired::{Desired, Intent, Orders, Want, Wants};
pub use entity::{BadEntity, Entity, EntityId};
pub use limits::{Enforceable, Limit, Limits};
pub use membership::{Contact, Hold, Membership};
pub use observed::{Agent, Ended, Lease, Observed, Outcome, Phase, Stopping};
pub use pace::{Pace, Spawn};
pub use place::{Place, Waits, WaitsFor};
pub use pod::PodTemplate;
pub use reason::{
    Change, EndReason, ForgetReason, Pending, StartReason, StopReason, Throttle, WorldReason,
};
pub use rollout::{
    CannotSteer, Failure, MaxUnavailable, Pause, Progress, Rollout, RolloutPolicy, Rollouts, Steer,
    Turn, is_behind, progress,
};
pub use run::{Exit, Loss, RunId};
pub use sandbox::Sandbox;
pub use storm::{Course, Storm, Storms};
pub use template::{
    AgentSpec, Arrival, Backoff, ChosenBy, Jit, Launch, Launcher, LeaseHealth, Matcher,
    PLACEHOLDERS, Removal, RestartPolicy, Rules, Site, Template,
};
pub use time::Time;
