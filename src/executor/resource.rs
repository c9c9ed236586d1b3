//! What an agent's telemetry says of where it comes from: the OpenTelemetry resource attributes in
//! its environment.

use std::iter;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The variable that has them: `key=value,…`, values percent-encoded.
pub const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What the OpenTelemetry specification allows in no value, and the sign of the encoding itself.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'=').add(b'\\');

/// Attributes, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource(Vec<(&'static str, String)>);

impl Resource {
    /// Of an agent that serves this entity by this template.
    #[must_use]
    pub fn of_agent(entity: &str, kind: &str, template: &str) -> Self {
        let attributes = [
            ("runner.entity", entity),
            ("runner.entity.type", kind),
            ("runner.template", template),
            ("service.instance.id", entity),
        ];
        Self(attributes.map(|(key, value)| (key, encoded(value))).to_vec())
    }

    /// The variable: what the user gives for it, and after that what the user says nothing else of.
    #[must_use]
    pub fn added_to(&self, given: &str) -> String {
        let own = self.0.iter().map(|(key, value)| (*key, format!("{key}={value}")));
        // The same again is added: else nobody could tell what was given from what was added.
        let own = own.filter(|(key, pair)| {
            given.split(',').all(|given| key_of(given) != *key || given == pair)
        });
        let given = Some(given.to_owned()).filter(|given| !given.is_empty());
        given.into_iter().chain(own.map(|(_, pair)| pair)).collect::<Vec<_>>().join(",")
    }

    /// What the user gave, of which [`added_to`](Self::added_to) made this. There is one such text:
    /// of two, one would go on in pairs of ours where the other has them added.
    #[must_use]
    pub fn taken_from<'a>(&self, added: &'a str) -> &'a str {
        let shorter = |rest: &&'a str| Some(rest.rsplit_once(',').map_or("", |(before, _)| before));
        iter::successors(Some(added), shorter)
            .take(self.0.len() + 1)
            .find(|given| self.added_to(given) == added)
            .unwrap_or(added)
    }
}

fn key_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(key, _)| key).trim()
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, ENCODED).to_string()
}

#[cfg(test)]
mod tests;
