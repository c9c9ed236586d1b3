//! Makes a story that fails shorter, as long as it fails.

use super::happening::Happening;

/// Tries so many shorter ones at the most.
const TRIES: usize = 3000;

/// Leaves out parts, large ones first, then single happenings.
pub(crate) fn shrink(
    mut story: Vec<Happening>,
    mut why: String,
    fails: impl Fn(&[Happening]) -> Option<String>,
) -> (Vec<Happening>, String) {
    let mut tries = 0;
    let mut part = story.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut shortened = false;
        while at < story.len() && tries < TRIES {
            let until = (at + part).min(story.len());
            let shorter: Vec<_> = [&story[..at], &story[until..]].concat();
            tries += 1;
            if let Some(reason) = fails(&shorter) {
                (story, why) = (shorter, reason);
                shortened = true;
            } else {
                at = until;
            }
        }
        if !shortened || part > 1 {
            part /= 2;
        }
    }
    (story, why)
}
