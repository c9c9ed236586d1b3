//! The one place that knows which characters are not what they look like.

/// The longest text of others that is repeated, in characters.
pub(crate) const MAX_TEXT: usize = 200;

/// Whether a character acts instead of being seen: controls, what turns the direction of a line
/// or ends it, and what has no width.
#[must_use]
pub(crate) fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The beginning of a text that others wrote, free of what a terminal would act upon.
pub(crate) fn printable(text: &str) -> String {
    let escaped = text.chars().take(MAX_TEXT).flat_map(|c| {
        let mut kept = Some(c).filter(|c| matches!(c, '"' | '\'' | '\\'));
        let mut escaped = kept.is_none().then(|| c.escape_debug());
        std::iter::from_fn(move || kept.take().or_else(|| escaped.as_mut()?.next()))
    });
    escaped.take(MAX_TEXT).collect()
}
