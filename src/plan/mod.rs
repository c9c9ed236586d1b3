//! The pure room.

pub mod answer;
pub mod entity;
pub mod run;
pub mod template;
pub mod time;

pub use answer::{Answer, Entities, Heard, Refused};
pub use entity::{BadEntity, Entity, EntityId};
pub use run::{Exit, RunId};
pub use template::{
    AgentSpec, Arrival, Backoff, ChosenBy, Jit, Launch, LeaseHealth, Matcher, PLACEHOLDERS,
    Removal, RestartPolicy, Rules, Site, Template,
};
pub use time::Time;
