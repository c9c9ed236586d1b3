//! Any strings as what a world calls its entities: what is made of them for files and telemetry.

#![expect(clippy::missing_panics_doc, reason = "a failed check is what it is for")]

use std::collections::BTreeMap;
use std::path::{Component, Path};

use percent_encoding::percent_decode_str;

use super::{Resource, log_name, logs};
use crate::plan::EntityId;

/// The longest name that a file can have.
const NAME_MAX: usize = 255;

/// What is called by an id stays in its directory, is nobody else's, and tells the id.
pub fn paths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut known: BTreeMap<String, EntityId> = BTreeMap::new();
    // No id has a newline.
    for id in text.split('\n').filter_map(|line| EntityId::new(line).ok()) {
        let name = log_name(&id);
        assert!(name.len() <= NAME_MAX, "{name} is too long");
        let components: Vec<_> = Path::new(&name).components().collect();
        assert_eq!(components, [Component::Normal(name.as_ref())], "{id:?}");
        let between = name.strip_prefix("agent-").and_then(|rest| rest.strip_suffix(".log"));
        let between = between.unwrap_or_default();
        assert!(!between.is_empty() && between.bytes().all(|byte| byte.is_ascii_graphic()));
        if !between.contains('~') {
            let decoded = percent_decode_str(between).decode_utf8_lossy();
            assert_eq!(decoded, id.as_str());
        }
        logs::fuzzing::names(&name);
        telemetry(&id, text.lines().last().unwrap_or_default());
        if let Some(other) = known.insert(name, id.clone()) {
            assert_eq!(other, id, "two ids have one name");
        }
    }
}

/// What is said of an agent in its environment is read by others as it was meant, and taken off
/// again.
fn telemetry(id: &EntityId, given: &str) {
    let resource = Resource::of_agent(id.as_str(), "a type, of ants", "a=b");
    let added = resource.added_to("");
    let pairs: Vec<_> = added.split(',').map(|pair| pair.split_once('=')).collect();
    let expected =
        ["runner.entity", "runner.entity.type", "runner.template", "service.instance.id"];
    let keys: Vec<_> = pairs.iter().map(|pair| pair.map_or("", |(key, _)| key)).collect();
    assert_eq!(keys, expected, "{added}");
    let value = pairs.first().copied().flatten().map_or("", |(_, value)| value);
    assert_eq!(percent_decode_str(value).decode_utf8_lossy(), id.as_str());
    let added = resource.added_to(given);
    assert!(added.starts_with(given));
    assert_eq!(resource.taken_from(&added), given, "of {added}");
}
