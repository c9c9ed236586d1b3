//! What a person sees. The snapshots are for reading: look at them as the user would.

use super::*;

#[test]
fn everything_wrong_at_once() {
    insta::assert_snapshot!(rendered(include_str!("wrong.toml")));
}

#[test]
fn nothing_in_the_file() {
    for empty in ["", " \n\n", "\u{feff}", "# only a comment\n"] {
        let [line] = &brief(empty)[..] else { panic!("not one mistake") };
        assert!(line.starts_with("1:1: the file "), "{line}");
        assert!(line.ends_with("write at least `[runner]`"), "{line}");
    }
}

#[test]
fn several_places_that_are_not_toml() {
    let text =
        "[runner]\nserver = localhost:50051\nmax_agents = \nenable = 1\n[jit]\nenabled = tru\n";
    insta::assert_snapshot!(rendered(text));
}

#[test]
fn a_file_cut_off() {
    let (text, _) = TODAY.split_at(TODAY.find("probability").unwrap() + 3);
    insta::assert_snapshot!(rendered(text));
}

#[test]
fn keys_given_twice() {
    let text = "[runner]\nlog_dir = 'a'\nlog_dir = 'b'\n[jit]\n[runner]\nmax_agents = 1\n";
    insta::assert_snapshot!(rendered(text));
}

#[test]
fn colour_only_where_asked_for() {
    let mistakes = read("[runer]").unwrap_err();
    assert!(mistakes.render(true).contains('\u{1b}'));
    assert!(!mistakes.render(false).contains('\u{1b}'));
}

#[test]
fn the_log_names_the_same_place_as_the_picture() {
    let text = "[runner]\n[agents.\"é☃\".match]\ntypes = ['é☃', 3]\n";
    let mistakes = read(text).unwrap_err();
    for place in mistakes.places() {
        let shown = format!("--> configs/test.toml:{}:{}\n", place.line, place.column);
        assert!(mistakes.render(false).contains(&shown), "{shown} {}", mistakes.render(false));
    }
    assert_eq!(mistakes.len(), 2);
    assert_eq!(mistakes.file(), "configs/test.toml");
}
