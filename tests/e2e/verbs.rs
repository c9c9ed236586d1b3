//! The verbs that need no running instance: what they print, as people and programs get it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{Runner, World};

fn run(args: &[&str], cwd: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(args).current_dir(cwd).env_remove("RUST_LOG").env("HOME", cwd);
    command.env_remove("XDG_STATE_HOME").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Its data, which must be there, and nothing beside it.
fn data(args: &[&str], cwd: &Path) -> String {
    let output = run(args, cwd);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
    text(&output.stdout)
}

const FILE: &str = "[runner]\nserver = \"localhost:1\"\nrestart = \"never\"\n\n\
                    [agents.\"a b\"]\ncommand = [\"x\"]\nmatch = { types = [\"wolf\"] }\n\n\
                    [agents.b]\nmodule = \"m\"\n";

#[test]
fn config_tells_what_holds_and_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), FILE).unwrap();
    let args = ["config", "--config", "mine.toml", "--log-dir", "/logs"];
    let told = data(&args, dir.path());
    let line = |key: &str| told.lines().find(|line| line.starts_with(key)).unwrap();
    let words = |key: &str| line(key).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words("server ="), "server = \"localhost:1\" # mine.toml:2");
    assert_eq!(words("max_agents ="), "max_agents = 1000 # default");
    assert_eq!(words("log_dir ="), "log_dir = \"/logs\" # --log-dir");
    assert_eq!(words("name ="), "name = \"mine\" # default");
    let state_dir = dir.path().join(".local/state/runner/mine");
    assert_eq!(words("state_dir ="), format!("state_dir = {state_dir:?} # default"));
    let (_, template) = told.split_once("[agents.\"a b\"]\n").unwrap();
    assert!(template.lines().any(|line| {
        line.starts_with("restart = \"never\" ") && line.ends_with(" # mine.toml:3")
    }));
    // It is a file that means the same.
    fs::write(dir.path().join("told.toml"), &told).unwrap();
    let again = data(&["config", "--config", "told.toml"], dir.path());
    let values = |text: &str| {
        text.lines()
            .map(|line| line.split("  # ").next().unwrap().trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&told));
}

#[test]
fn config_for_programs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), FILE).unwrap();
    let args = ["config", "-c", "mine.toml", "--server", "embedded", "-o", "json"];
    let told: Value = serde_json::from_str(&data(&args, dir.path())).unwrap();
    assert_eq!(
        (&told["apiVersion"], &told["kind"]),
        (&"runner/v1".into(), &"Configuration".into())
    );
    let config = &told["config"];
    assert_eq!(config["agents"]["a b"]["match"]["types"][0], "wolf");
    assert_eq!(config["runner"]["backoff_multiplier"], 2.0);
    let origin = |pointer: &str| {
        assert!(config.pointer(pointer).is_some(), "{pointer}");
        &told["origins"][pointer]
    };
    assert_eq!(origin("/runner/server")["option"], "--server");
    let place = origin("/agents/a b/match/types");
    assert_eq!(
        (&place["from"], &place["line"], &place["column"]),
        (&"file".into(), &7.into(), &19.into())
    );
    assert_eq!(origin("/agents/b/restart")["line"], 3);
    assert_eq!(origin("/agents/b/args")["from"], "default");
    let (code, stderr) = {
        let output = run(&["config", "-c", "nobody"], dir.path());
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn config_is_that_of_the_instance_if_no_file_is_named() {
    let world = World::absent("");
    let runner =
        Runner::start(&format!("[runner]\nserver = {:?}\nmax_agents = 7\n", world.address));
    runner.process.event_of_all(0, "runner.started");
    super::harness::eventually("an answer", || {
        run(&["status", "--state-dir", "state"], runner.dir.path()).status.success()
    });
    let told = data(&["config", "--state-dir", "state"], runner.dir.path());
    let file = runner.dir.path().canonicalize().unwrap().join("runner.toml");
    let line = told.lines().find(|line| line.starts_with("max_agents = 7")).unwrap();
    assert!(line.ends_with(&format!("# {}:3", file.display())), "{line}");
    runner.stop();
}

#[test]
fn the_schema_is_the_file_beside_the_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::read_to_string("configs/runner.schema.json").unwrap();
    assert_eq!(data(&["schema"], dir.path()), file);
}

#[test]
fn the_manual_has_a_page_for_each_verb_with_its_examples_and_the_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let main = data(&["man"], dir.path());
    let written = data(&["man", "pages"], dir.path());
    let pages: Vec<_> = written.lines().map(|path| dir.path().join(path)).collect();
    assert!(pages.len() > 20, "{written}");
    assert!(pages.contains(&dir.path().join("pages/runner-wait.1")), "{written}");
    assert_eq!(fs::read_to_string(dir.path().join("pages/runner.1")).unwrap(), main);
    for page in &pages {
        let source = fs::read_to_string(page).unwrap();
        for part in
            [".SH NAME", ".SH EXAMPLES", "\\fBrunner ", ".SH \"EXIT STATUS\"", "wrong usage"]
        {
            assert!(source.contains(part), "{part} in {}", page.display());
        }
        // As a person reads it, without a warning.
        let Ok(output) =
            Command::new("groff").args(["-man", "-ww", "-Tutf8", "-P-cbu"]).arg(page).output()
        else {
            eprintln!("no groff: the pages are not rendered");
            continue;
        };
        assert_eq!(text(&output.stderr), "", "{}", page.display());
        assert!(text(&output.stdout).contains("EXAMPLES"));
    }
}
