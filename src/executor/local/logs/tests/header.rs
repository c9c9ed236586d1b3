use std::time::{Duration, SystemTime};

use super::*;
use crate::executor::{Resource, SpawnRequest};
use crate::plan::{AgentSpec, Confinement, RunId};

fn request(argv: &[&str], reason: &str) -> SpawnRequest {
    SpawnRequest {
        run: RunId(3),
        entity: EntityId::new("x").unwrap(),
        spec: AgentSpec {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: [("TOKEN".to_owned(), "secret".to_owned())].into_iter().collect(),
            cwd: "/".into(),
            confinement: Confinement::default(),
            pod: None,
        },
        resource: Resource::default(),
        grace: Duration::from_secs(5),
        markers: [("MARKER".to_owned(), "secret".to_owned())].into(),
        log_dir: "logs".into(),
        logs: FOREVER,
        incarnation: -1,
        attempts: 0,
        restarts: 0,
        reason: reason.to_owned(),
    }
}

fn line(request: &SpawnRequest) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_007);
    header_line(request, 1234, at)
}

#[test]
fn one_line_with_all_of_it() {
    let request = request(&["uv", "run", "a b"], "restart 1 of 5 after a crash");
    assert_eq!(
        line(&request),
        "--- runner: 2026-11-22T10:00:00.007Z run #3 incarnation -1 pid 1234 \
         reason \"restart 1 of 5 after a crash\" command [\"uv\",\"run\",\"a b\"]"
    );
}

#[test]
fn nothing_that_could_be_taken_for_something_else() {
    let request =
        request(&["a\n--- runner: \"b\"", "\u{1b}[2J\\\u{9b}", "蚂蚁\u{202e}\u{e0041}"], "x\ry");
    let line = line(&request);
    assert!(!line.chars().any(crate::text::is_unseen), "{line:?}");
    assert!(!line.contains("secret"));
    let (_, argv) = line.split_once(" command ").unwrap();
    let argv: Vec<String> = serde_json::from_str(argv).unwrap();
    assert_eq!(argv, request.spec.argv);
    assert!(line.contains(r#" reason "x\u000dy" "#), "{line}");
}

#[test]
fn it_begins_a_line_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("new/logs");
    let request = request(&["true"], "r");
    let mut expected = String::new();
    for (before, end_of_line) in [("", ""), ("torn", "\n"), ("whole\n", "")] {
        let log = open(&dir, NAME, &FOREVER).unwrap();
        (&log.file).write_all(before.as_bytes()).unwrap();
        let log = open(&dir, NAME, &FOREVER).unwrap();
        log.write_header(&request, 1).unwrap();
        let all = fs::read_to_string(dir.join(NAME)).unwrap();
        let new = all.strip_prefix(&expected).unwrap();
        let header = new.strip_prefix(&format!("{before}{end_of_line}")).unwrap();
        assert!(header.starts_with("--- runner: ") && header.ends_with("]\n"), "{header:?}");
        assert_eq!(header.lines().count(), 1);
        expected = all;
    }
}
