use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_words_on_the_screen() {
    let mut table = Table::new(&["NAME", "PHASE"]);
    table.row(["狼".to_owned(), "Running".to_owned()]);
    table.row(["a\u{1b}[31mb".to_owned(), "-".to_owned()]);
    let text = table.render(false);
    assert_eq!(text, "NAME           PHASE\n狼             Running\na\\u{1b}[31mb   -\n");
    assert!(table.render(true).contains("\u{1b}[32mRunning\u{1b}[0m"));
}

#[test]
fn what_acts_instead_of_being_seen_is_escaped_and_nothing_else() {
    let evil =
        "a\u{1b}]0;x\u{7}\n\r\u{9b}31m\u{202e}b\u{2066}c\u{200b}d\u{2028}e\u{feff}f\u{e0041}g";
    let seen = "a\\u{1b}]0;x\\u{7}\\n\\r\\u{9b}31m\\u{202e}b\\u{2066}c\\u{200b}d\\u{2028}e\\u{feff}f\\u{e0041}g";
    assert_eq!(escaped(evil), seen);
    let plain = "狼 ünïcödé e\u{301} שלום 🐺 \\ \"quoted\" {server} --flag";
    assert_eq!(escaped(plain), plain);
}

#[test]
fn spans_and_sizes() {
    for (ms, text) in [
        (0, "0s"),
        (119_999, "119s"),
        (125_000, "2m5s"),
        (3_600_000, "60m"),
        (7_260_000, "2h1m"),
        (172_800_000, "2d"),
    ] {
        assert_eq!(span(ms), text);
    }
    for (size, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")] {
        assert_eq!(bytes(size), text);
    }
    assert_eq!(timestamp(1_700_000_000_123).unwrap(), "2023-11-14T22:13:20.123Z");
    assert_eq!(timestamp(0), None);
}

#[test]
fn what_is_cut_has_a_sign_of_it_within_its_columns() {
    let all = ["", "…", "…", "狼…", "狼a…", "狼ab…", "狼ab狼", "狼ab狼"];
    for (width, text) in all.into_iter().enumerate() {
        assert_eq!(cut("狼ab狼", width), text);
    }
}
