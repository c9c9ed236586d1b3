//! Patterns of names, as a shell has them.

use std::str::Chars;

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
///
/// Takes no memory, and at most time in proportion to the pattern and to the square of the name:
/// patterns come from whoever may ask, by the thousand.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on after the last `*`, if it stood for one character more.
    let mut again: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut after, mut rest) = (pattern.clone(), name.clone());
        match (after.next(), rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                again = Some((after.clone(), name.clone()));
                pattern = after;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, name) = (after, rest);
            }
            (Some(_) | None, Some(_)) | (Some(_), None) => {
                let Some((star, from)) = &mut again else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, name) = (star.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abcbc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxyyc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*a", "a", false),
            ("**?**", "x", true),
            ("*?", "", false),
            ("*", "", true),
            ("", "a", false),
            ("*é?", "xéy", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
