//! The inputs that are kept, each through the function that it is for.

use std::fs;
use std::panic;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let run = panic::catch_unwind(|| body(&input));
        assert!(run.is_ok(), "the input is {}", path.display());
        count += 1;
    }
    assert!(count >= 10, "{count} inputs in {}", dir.display());
}

#[test]
fn configuration_files() {
    replay("config", super::config);
}

#[test]
fn answers_of_the_world() {
    replay("answer", super::answer);
}

#[test]
fn journals() {
    replay("journal", super::journal);
}

#[test]
fn ids_and_what_is_called_by_them() {
    replay("paths", super::paths);
}

#[test]
fn requests_of_the_control_api() {
    replay("control", super::control);
}

#[test]
fn log_directories() {
    replay("logs", super::logs);
}

#[test]
fn an_input_is_read_as_frames() {
    let all = |data| super::frames(data).collect::<Vec<_>>();
    assert_eq!(all(b"a\x02\0xyb\0\0c\x05\0z"), [(b'a', &b"xy"[..]), (b'b', b""), (b'c', b"z")]);
    assert_eq!(all(b"a\x02"), []);
}
