//! All in a line: `12 running · 1 backing off · world ok · config #4`.

use crate::proto::control as pb;

/// One thing that the line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// The phase that it is about, or that is as good or bad as it; empty: none.
    pub(super) phase: String,
}

/// What the line says of an instance.
pub(super) fn parts(status: &pb::Status) -> Vec<Part> {
    let part = |text: String, phase: &str| Part { text, phase: phase.to_owned() };
    let mut phases: Vec<_> = status.phases.iter().filter(|(_, count)| **count > 0).collect();
    phases.sort_by_key(|(phase, _)| (*phase != "Running", *phase));
    let mut parts: Vec<_> = phases
        .into_iter()
        .map(|(phase, count)| part(format!("{count} {}", in_words(phase)), phase))
        .collect();
    for (count, phase) in [(status.pending, "Pending"), (status.suspended, "Suspended")] {
        if count > 0 {
            parts.push(part(format!("{count} {}", in_words(phase)), phase));
        }
    }
    if parts.is_empty() {
        parts.push(part("no agents".to_owned(), ""));
    }
    let reachable = status.world.as_ref().is_some_and(|world| world.reachable);
    parts.push(if reachable {
        part("world ok".to_owned(), "")
    } else {
        part("world away".to_owned(), "AwaitingWorld")
    });
    parts.push(part(format!("config #{}", status.config_generation), ""));
    parts
}

/// The line.
pub(super) fn line(status: &pb::Status) -> String {
    let parts: Vec<_> = parts(status).into_iter().map(|part| part.text).collect();
    parts.join(" · ")
}

/// `BackingOff` is `backing off`.
fn in_words(phase: &str) -> String {
    let mut words = String::new();
    for letter in phase.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_run_come_first() {
        let count = |phase: &str, count| (phase.to_owned(), count);
        let mut status = pb::Status {
            phases: [count("BackingOff", 1), count("Running", 12), count("Failed", 0)].into(),
            world: Some(pb::World { reachable: true, ..pb::World::default() }),
            config_generation: 4,
            ..pb::Status::default()
        };
        assert_eq!(line(&status), "12 running · 1 backing off · world ok · config #4");
        status = pb::Status { phases: [].into(), world: None, suspended: 2, ..status };
        assert_eq!(line(&status), "2 suspended · world away · config #4");
        status.suspended = 0;
        assert_eq!(line(&status), "no agents · world away · config #4");
    }
}
