//! The tables of the demo world: `[world]`, `[[entities]]` and `[[objects]]`.

use std::collections::BTreeMap;

use super::keys::Table;
use super::mistakes::{Mistake, Span};
use super::section::{Fallback, Found, Section};
use crate::plan::EntityId;
use crate::world::{Definition, EntityDefinition, ObjectDefinition};

/// The world that the file describes: an empty one of 32 by 32, if it describes none.
pub(super) fn definition(root: &Section<'_>) -> Definition {
    let world = root.table("world", Table::World);
    let width = world.whole("width", 1..=i64::from(i32::MAX), 32);
    let height = world.whole("height", 1..=i64::from(i32::MAX), 32);
    let size = (small(width.value), small(height.value));
    let map = Map {
        width: (!width.is_wrong()).then_some(width.value),
        height: (!height.is_wrong()).then_some(height.value),
    };
    let mut ids = BTreeMap::new();
    let entities = root.items("entities", Table::Entity);
    let entities = entities.iter().map(|section| entity(section, &map, &mut ids)).collect();
    let mut ids = BTreeMap::new();
    let objects = root.items("objects", Table::Object);
    let objects = objects.iter().map(|section| object(section, &map, &mut ids)).collect();
    let tick = world.millis("tick_duration_ms", 1, 1000).value;
    Definition { width: size.0, height: size.1, tick, entities, objects }
}

/// The values are checked against bounds that fit.
fn small(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Ids that were there before, each with its place.
type Ids = BTreeMap<String, Span>;

fn entity(section: &Section<'_>, map: &Map, ids: &mut Ids) -> EntityDefinition {
    let arrives = section.millis("arrives_after_ms", 0, 0);
    let leaves = section.millis("leaves_after_ms", 1, Fallback::nothing(60_000));
    if let Some(span) = leaves.span().filter(|_| leaves.value <= arrives.value) {
        let arrival = arrives.value.as_millis();
        section.sink.note(
            Mistake::at(span, "an entity must not leave before it arrives")
                .label(format!("not after {arrival}"))
                .related(arrives.span(), "when it arrives")
                .help(format!("write `leaves_after_ms = {}`", arrival.saturating_add(60_000))),
        );
    }
    EntityDefinition {
        id: id(section, "alice", ids),
        kind: kind(section, "forager"),
        at: map.place(section),
        tags: section
            .words("tags", Some(&[]), &["hungry"])
            .value
            .into_iter()
            .map(|(tag, _)| tag)
            .collect(),
        arrives_after: arrives.value,
        leaves_after: leaves.holding(),
    }
}

fn object(section: &Section<'_>, map: &Map, ids: &mut Ids) -> ObjectDefinition {
    ObjectDefinition {
        id: id(section, "bush-1", ids),
        kind: kind(section, "bush"),
        at: map.place(section),
        has_berry: section.flag("has_berry", false).value,
    }
}

fn id(section: &Section<'_>, example: &str, ids: &mut Ids) -> String {
    let id = section.text("id", Fallback::nothing(example));
    let Some(span) = id.span() else {
        if !id.is_wrong() {
            let title = format!("one of the `{}` has no `id`", section.title());
            section.sink.note_absence(
                Mistake::at(section.span(), title).help(format!("write `id = {example:?}`")),
            );
        }
        return id.value;
    };
    if let Err(bad) = EntityId::new(&id.value) {
        let title = format!("`{}` cannot be this: {bad}", section.name("id"));
        section.sink.note(
            Mistake::at(span, title).label("no id").help(format!("write `id = {example:?}`")),
        );
    } else if let Some(first) = ids.get(&id.value) {
        let title = format!("a second one of the `{}` has the id {:?}", section.title(), id.value);
        section.sink.note(
            Mistake::at(span, title)
                .label("taken")
                .related(Some(first), "the first one")
                .help("give each an id of its own"),
        );
    } else {
        ids.insert(id.value.clone(), span.clone());
    }
    id.value
}

fn kind(section: &Section<'_>, default: &str) -> String {
    let kind = section.text("type", default);
    if let Some(span) = kind.span().filter(|_| kind.value.chars().any(char::is_control)) {
        let title = format!("`{}` holds a control character", section.name("type"));
        let help = format!("write `type = {default:?}`");
        section.sink.note(Mistake::at(span, title).label("not printable").help(help));
    }
    kind.value
}

/// The extent of the world, if it is known.
struct Map {
    width: Option<i64>,
    height: Option<i64>,
}

impl Map {
    fn place(&self, section: &Section<'_>) -> (i32, i32) {
        let x = Self::coordinate(section, "x", self.width);
        let y = Self::coordinate(section, "y", self.height);
        (x, y)
    }

    fn coordinate(section: &Section<'_>, key: &'static str, size: Option<i64>) -> i32 {
        let value: Found<i64> = section.whole(key, i64::MIN..=i64::MAX, 0);
        let size = size.unwrap_or(i64::from(i32::MAX));
        if let Some(span) = value.span().filter(|_| !(0..size).contains(&value.value)) {
            let title = format!("`{}` lies outside the world", section.name(key));
            section.sink.note(
                Mistake::at(span, title)
                    .label(format!("the world goes from 0 to {}", size - 1))
                    .help(format!("write `{key} = {}`", value.value.clamp(0, size - 1))),
            );
        }
        small(value.value)
    }
}
