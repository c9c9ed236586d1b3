//! Whatever a file holds, reading it ends in a configuration or in mistakes that can be shown.

use proptest::prelude::*;

use super::*;
use crate::config::{load, parse_world};

fn survives(bytes: &[u8]) {
    let parsed = load::decode("test.toml".as_ref(), bytes, |name, text| {
        let _ = parse_world(name, text).map_err(|mistakes| mistakes.render(true));
        parse(name, text, &Overrides::default())
    });
    if let Err(mistakes) = parsed {
        assert!(mistakes.len() > 0);
        assert!(!mistakes.render(false).is_empty());
        assert_eq!(mistakes.places().len(), mistakes.len());
    }
}

/// A piece of a file that has it all, with something else in its place.
fn edited(text: &str, from: usize, len: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let from = from % (bytes.len() + 1);
    let to = (from + len).min(bytes.len());
    bytes.splice(from..to, with.iter().copied());
    bytes
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        "[\\[\\]{}=\"',.\n\\\\#é☃a-z0-9-]{0,8}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn any_edit_of_a_right_file(from in 0..10_000_usize, len in 0..20_usize, with in piece()) {
        survives(&edited(EVERYTHING, from, len, &with));
    }

    #[test]
    fn any_edit_of_a_file_for_a_cluster(
        from in 0..10_000_usize,
        len in 0..20_usize,
        with in piece(),
    ) {
        let edited = edited(CLUSTER, from, len, &with);
        survives(&edited);
        crate::config::fuzzing::config(&edited);
    }

    #[test]
    fn any_edit_of_a_wrong_file(from in 0..10_000_usize, len in 0..20_usize, with in piece()) {
        survives(&edited(include_str!("wrong.toml"), from, len, &with));
    }
}

#[test]
fn every_beginning_of_a_file() {
    for end in 0..EVERYTHING.len() {
        survives(&EVERYTHING.as_bytes()[..end]);
    }
}
