//! What a demo world is made of, as plain data.

use std::time::Duration;

/// A demo world: its size, its clock, and who and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Tiles from west to east; at least 1.
    pub width: i32,
    /// Tiles from north to south; at least 1.
    pub height: i32,
    /// The length of a tick; at least 1 ms.
    pub tick: Duration,
    /// The entities, with distinct ids.
    pub entities: Vec<EntityDefinition>,
    /// The objects, with distinct ids.
    pub objects: Vec<ObjectDefinition>,
}

/// An entity, and when it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityDefinition {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Where it starts.
    pub at: (i32, i32),
    /// Its tags.
    pub tags: Vec<String>,
    /// How long after the world's start it comes; zero: it is there from the start.
    pub arrives_after: Duration,
    /// How long after the world's start it leaves, if it does.
    pub leaves_after: Option<Duration>,
}

/// An object: something an entity can see and, where it bears a berry, collect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDefinition {
    /// Its id.
    pub id: String,
    /// Its type, such as `bush`.
    pub kind: String,
    /// Where it stands.
    pub at: (i32, i32),
    /// Whether it bears a berry at the start.
    pub has_berry: bool,
}
