//! Any bytes as a configuration file.

#![expect(clippy::missing_panics_doc, reason = "a failed check is what it is for")]

use super::{Mistakes, Overrides, explain, load, parse, parse_world};

/// Reading ends in a configuration that means the same when it is written out, or in mistakes that
/// are in the file and can be shown.
pub fn config(data: &[u8]) {
    let file = "fuzz.toml".as_ref();
    if let Err(mistakes) = load::decode(file, data, parse_world) {
        check(&mistakes, data);
    }
    let overrides = Overrides::default();
    match load::decode(file, data, |name, text| explain(name, text, &overrides)) {
        Err(mistakes) => check(&mistakes, data),
        Ok((config, effective)) => {
            let written = effective.to_string();
            match parse("written.toml", &written, &overrides) {
                Ok(again) => assert_eq!(again, config, "it was written as\n{written}"),
                Err(mistakes) => {
                    unreachable!("{mistakes}\nin what a right file was written as:\n{written}")
                }
            }
        }
    }
}

fn check(mistakes: &Mistakes, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').collect();
    let places = mistakes.places();
    assert!(!places.is_empty() && places.len() == mistakes.len());
    for place in places {
        let line = place.line.checked_sub(1).and_then(|index| lines.get(index));
        let columns = line.map_or(0, |line| line.chars().count() + 1);
        assert!((1..=columns).contains(&place.column), "no such place: {place:?}");
        assert!(!place.message.is_empty());
    }
    assert!(!mistakes.to_string().is_empty());
    for colour in [false, true] {
        assert!(mistakes.render(colour).contains("error"));
    }
}
