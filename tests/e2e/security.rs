//! The threat model names tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The tests that each threat names, by the threat: of all tables that end in `held by`.
fn named(page: &str) -> Vec<(String, Vec<String>)> {
    let mut threats = Vec::new();
    let mut of_threats = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            of_threats &= line.starts_with("|--");
            continue;
        };
        let cells: Vec<_> = row.split(" | ").collect();
        if cells.last() == Some(&"held by") {
            of_threats = true;
        } else if of_threats {
            // Between backticks.
            let tests = cells[cells.len() - 1].split('`').skip(1).step_by(2);
            threats.push((cells[0].to_owned(), tests.map(str::to_owned).collect()));
        }
    }
    threats
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs" || it == "py") {
            found.push(path);
        }
    }
}

/// The tests in a source: functions below `#[test]` or the like, and what pytest takes for one.
fn tests_in(text: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let python = line.strip_prefix("def ").filter(|rest| rest.starts_with("test_"));
        if let Some(rest) = function.filter(|_| marked).or(python) {
            tests.insert(rest.split('(').next().unwrap().to_owned());
        }
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        marked &= function.is_none();
    }
    tests
}

/// What is wrong with the page, given these tests.
fn wrong(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (threat, named) in named(page) {
        if named.is_empty() {
            wrong.push(format!("{threat}: names no test"));
        }
        let missing = named.into_iter().filter(|name| !tests.contains(name));
        wrong.extend(missing.map(|name| format!("{threat}: there is no test {name}")));
    }
    wrong
}

#[test]
fn each_threat_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("design/security.md")).unwrap();
    let mut files = Vec::new();
    for dir in ["src", "tests"] {
        sources(&root.join(dir), &mut files);
    }
    let tests = files.iter().flat_map(|file| tests_in(&fs::read_to_string(file).unwrap()));
    let tests: BTreeSet<_> = tests.collect();
    let threats = named(&page).len();
    assert!(threats >= 35, "only {threats} threats were found");
    assert_eq!(wrong(&page, &tests), Vec::<String>::new());
}

#[test]
fn a_test_that_is_not_there_and_a_threat_without_one_are_found() {
    let page = "| who | what |\n|---|---|\n| x | `y` |\n\n| threat | done | held by |\n|---|---|---|\n\
                | one | a | `there`, `test_there` |\n| two | b | `gone`, `no_test` |\n| three | c | - |\n\n\
                | x | `z` |\n";
    let rust = "#[test]\n#[ignore = \"no\"]\nfn there() {\n}\nfn no_test() {}\n";
    let tests = &tests_in(rust) | &tests_in("def test_there(tmp_path: Path) -> None:\n");
    assert_eq!(
        wrong(page, &tests),
        ["two: there is no test gone", "two: there is no test no_test", "three: names no test"]
    );
}
