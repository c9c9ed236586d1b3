use super::*;

fn inheriting(patterns: &[&str]) -> Confinement {
    let env_inherit = patterns.iter().map(ToString::to_string).collect();
    Confinement { env_inherit, ..Confinement::default() }
}

#[test]
fn a_name_is_inherited_whole_and_a_star_stands_for_any_end() {
    let confinement = inheriting(&["PATH", "LC_*"]);
    for name in ["PATH", "LC_", "LC_ALL"] {
        assert!(confinement.inherits(name.as_bytes()), "{name}");
    }
    for name in ["", "PAT", "PATHS", "path", "LC", "XLC_ALL"] {
        assert!(!confinement.inherits(name.as_bytes()), "{name}");
    }
    assert!(confinement.inherits(b"LC_\xff"));
    assert!(inheriting(&["*"]).inherits(b"ANY"));
    assert!(!inheriting(&[]).inherits(b"PATH"));
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(!inheriting(&["*", name]).inherits(name.as_bytes()), "{name} is the runner's");
    }
}

#[test]
fn no_secret_is_inherited_unless_it_is_named() {
    let usual = Confinement::default();
    for name in ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "RUST_LOG", "USER", "LD_PRELOAD"] {
        assert!(!usual.inherits(name.as_bytes()), "{name}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let confinement = inheriting(&["A", "B_*"]);
    let read: Confinement = serde_json::from_str(&confinement.to_string()).unwrap();
    assert_eq!(read, confinement);
}
