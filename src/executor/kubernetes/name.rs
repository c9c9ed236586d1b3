//! What things are called in a cluster.

use crate::plan::EntityId;

/// What the objects of an instance are called in a cluster, other than its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The instance itself: a value of a label.
    pub instance: String,
    /// The ConfigMap that all its pods belong to, and the Lease of the runner that leads. It holds no
    /// dot.
    pub owner: String,
}

impl Names {
    /// Those of the instance of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let instance = instance(name);
        Self { owner: owner(&instance), instance }
    }
}

/// The longest name of a pod that also is a host's name.
const NAME_MAX: usize = 63;

/// Of an entity's id, so much stands in the name of its pod, for people.
const READABLE_MAX: usize = 24;

/// The name of an instance, as it is part of others' names: what they may hold of it, and a digest
/// where that is not all.
#[must_use]
pub(super) fn instance(name: &str) -> String {
    let readable = readable(name, READABLE_MAX);
    if readable == name { readable } else { joined(&[&readable, &digest(&[name.as_bytes()])]) }
}

/// The name of the pod that serves this incarnation of an entity. As there is one, a second pod
/// cannot be made.
#[must_use]
pub(super) fn pod(instance: &str, entity: &EntityId, incarnation: i64) -> String {
    let parts = [instance.as_bytes(), entity.as_str().as_bytes(), &incarnation.to_be_bytes()];
    let name = format!("{}{}", stem(instance, entity), digest(&parts));
    debug_assert!(name.len() <= NAME_MAX, "{name}");
    name
}

/// What the names of all pods of an entity begin with.
#[must_use]
pub(super) fn stem(instance: &str, entity: &EntityId) -> String {
    let readable = readable(entity.as_str(), READABLE_MAX);
    format!("{}-", joined(&[instance, &readable]))
}

/// The name of the object that all pods of an instance belong to.
#[must_use]
pub(super) fn owner(instance: &str) -> String {
    format!("runner-{instance}")
}

fn joined(parts: &[&str]) -> String {
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// What of a name can stand in one of a cluster: lower case letters, digits, and dashes between.
fn readable(name: &str, most: usize) -> String {
    let mut readable = String::new();
    for character in name.chars().map(|it| it.to_ascii_lowercase()) {
        if readable.len() >= most {
            break;
        }
        if character.is_ascii_alphanumeric() {
            readable.push(character);
        } else if !readable.is_empty() && !readable.ends_with('-') {
            readable.push('-');
        }
    }
    readable.trim_end_matches('-').to_owned()
}

/// Eleven characters, different for different parts but for chance: FNV-1a, 64 bits, less those
/// that make it no shorter.
fn digest(parts: &[&[u8]]) -> String {
    const DIGITS: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.iter().copied().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (0..11)
        .map(|place| (hash >> (place * 5)) & 31)
        .filter_map(|digit| DIGITS.get(usize::try_from(digit).ok()?).copied())
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pod_of(entity: &str, incarnation: i64) -> String {
        pod("ants", &EntityId::new(entity).unwrap(), incarnation)
    }

    #[test]
    fn each_incarnation_of_each_entity_has_a_name_of_its_own() {
        let long = "x".repeat(200);
        let entities =
            ["a", "A", "a.", "a b", "日本", "-", long.as_str(), "../../etc/passwd", "a-"];
        let names: BTreeSet<_> =
            entities.iter().flat_map(|id| [0, 1, -1].map(|tick| pod_of(id, tick))).collect();
        assert_eq!(names.len(), entities.len() * 3);
        for name in names {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(allowed) && name.len() <= NAME_MAX, "{name}");
            assert!(name.starts_with("ants-") && !name.contains("--"), "{name}");
        }
        assert_ne!(pod("a", &EntityId::new("b").unwrap(), 0), pod_of("b", 0));
    }

    #[test]
    fn the_name_of_a_pod_stays_what_it_is() {
        // A runner of another version must find the same.
        assert_eq!(pod_of("Alice 1", 7), pod_of("Alice 1", 7));
        assert!(pod_of("Alice 1", 7).starts_with("ants-alice-1-"));
    }

    #[test]
    fn an_instance_is_called_as_it_may_be() {
        assert_eq!(instance("foraging"), "foraging");
        assert!(instance("Foraging").starts_with("foraging-"));
        assert_ne!(instance("Foraging"), instance("FORAGING"));
        assert!(instance(&"long".repeat(40)).len() <= 36);
        assert!(!instance("日本").is_empty());
        let Names { instance, owner } = Names::of("For.aging");
        assert_eq!(owner, format!("runner-{instance}"));
        assert!(!owner.contains('.'), "{owner}");
    }
}
