//! How Kubernetes writes names, labels and amounts.

use crate::plan::pod::MANAGED_BY;
use crate::quantity::amount;

/// What the runner finds its pods by.
const OURS: &str = "runner.dev/";

/// A name such as that of a namespace.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// A name such as that of a Secret.
pub(super) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// A name of a label, an annotation or a resource.
pub(super) fn is_label_key(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    domain.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

/// A value of a label.
pub(super) fn is_label_value(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
    let end = |it: Option<u8>| it.is_none_or(|it| it.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(allowed)
        && end(text.bytes().next())
        && end(text.bytes().last())
}

/// Whether the runner itself writes this on pods.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(OURS) || name == MANAGED_BY
}

/// An amount of something, which is never less than none.
pub(super) fn is_quantity(text: &str) -> bool {
    amount(text).is_some()
}

/// The amount that somebody means who writes it as elsewhere in the file: `64MiB`.
pub(super) fn meant(text: &str) -> Option<String> {
    let plain: String = text.split_whitespace().collect();
    let number = plain.strip_suffix(['B', 'b']).unwrap_or(&plain);
    let meant = match number.strip_suffix('K') {
        Some(number) => format!("{number}k"),
        None => number.to_owned(),
    };
    is_quantity(&meant).then_some(meant)
}
