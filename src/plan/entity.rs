//! What the world has: entities, as it names and describes them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id that is accepted, in bytes: room for any path component once percent-encoded.
pub const MAX_ID_BYTES: usize = 256;

/// An entity's id, as the world gave it.
///
/// Never empty, at most [`MAX_ID_BYTES`] long and free of control characters, so that it can be
/// an argument, an environment variable and a word in a log. It may hold anything else: slashes,
/// dots, spaces, a leading dash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>")]
pub struct EntityId(Arc<str>);

/// Why the world's word for an entity cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadEntity {
    /// The id has no characters.
    #[error("the id is empty")]
    Empty,
    /// The id is longer than [`MAX_ID_BYTES`].
    #[error("the id is longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    /// The id holds NUL, a newline, an escape or another control character.
    #[error("the id holds a control character")]
    ControlCharacter,
    /// The type holds a control character, so it could not be handed to an agent.
    #[error("the entity's type holds a control character")]
    BadType,
}

impl EntityId {
    /// Takes `id` as it is, or says why it cannot be an id.
    pub fn new(id: &str) -> Result<Self, BadEntity> {
        Self::check(id).map(|()| Self(id.into()))
    }

    fn check(id: &str) -> Result<(), BadEntity> {
        if id.is_empty() {
            Err(BadEntity::Empty)
        } else if id.len() > MAX_ID_BYTES {
            Err(BadEntity::TooLong)
        } else if id.chars().any(char::is_control) {
            Err(BadEntity::ControlCharacter)
        } else {
            Ok(())
        }
    }

    /// The id, as the world wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Arc<str>> for EntityId {
    type Error = BadEntity;

    fn try_from(id: Arc<str>) -> Result<Self, BadEntity> {
        Self::check(&id).map(|()| Self(id))
    }
}

impl Ord for EntityId {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most that are compared are clones: a pass goes over all agents and all wants.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for EntityId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<str> for EntityId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entity that an agent could control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its id; unique in one answer.
    pub id: EntityId,
    /// Its type, free of control characters; may be empty.
    pub kind: Arc<str>,
    /// Its tags, in the world's order.
    pub tags: Vec<String>,
    /// The tick at which it came into the world. The same id with another spawn tick is another
    /// incarnation.
    pub spawn_tick: i64,
    /// Whether somebody holds its lease.
    pub leased: bool,
}

impl Entity {
    /// An entity with a checked id and type.
    pub fn new(id: &str, kind: &str) -> Result<Self, BadEntity> {
        if kind.chars().any(char::is_control) {
            return Err(BadEntity::BadType);
        }
        Ok(Self {
            id: EntityId::new(id)?,
            kind: kind.into(),
            tags: Vec::new(),
            spawn_tick: 0,
            leased: false,
        })
    }
}
