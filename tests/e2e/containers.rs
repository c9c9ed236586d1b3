//! What the image of the runner is built of is enough. The build itself takes minutes and needs a
//! registry of images.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_directories_that_the_containerfile_copies_make_a_program() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let into = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(repository.join("containers/Containerfile")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied: Vec<_> = lines
        .filter(|words| !words.starts_with("--from"))
        .flat_map(|words| {
            let mut words: Vec<_> = words.split_whitespace().collect();
            words.pop();
            words
        })
        .collect();
    assert!(copied.contains(&"src"), "{copied:?}");
    for name in copied {
        let status = Command::new("cp")
            .arg("-r")
            .args([repository.join(name), into.path().join(name)])
            .status();
        assert!(status.unwrap().success(), "{name}");
    }
    // Asked for a program that there is not, cargo reads all of the manifest and names those there are.
    let done = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--offline", "--bin", "none"])
        .current_dir(into.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let (problem, programs) = said.split_once("available bin targets:").unwrap_or((&said, ""));
    assert!(problem.contains("no bin target named `none`"), "{said}");
    assert_eq!(programs.trim(), "runner", "{said}");
}
