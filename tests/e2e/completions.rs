//! Completions, as shells get them: the real shells where they are installed.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::control::{data, said};
use super::harness::{PATIENCE, Runner, misbehave};
use super::scripted::{Scripted, controllable};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runner");

/// Names that are commands, options, patterns and more to who reads them as such.
const HOSTILE: [&str; 6] =
    ["e;touch pwned", "f$(touch pwned)", "g`touch pwned`", "h' \"\\ #&|<>", "--all", "*"];

/// Those of them that a shell can quote so that they mean themselves.
const QUOTABLE: usize = 4;

fn started(world: &Scripted) -> Runner {
    let program = misbehave();
    let config = format!(
        "[runner]\nserver = \"{}\"\n[agents.default]\ncommand = [{program:?}]\n\
         [agents.\"of\\nlines\"]\ncommand = [{program:?}]\nmatch = {{ types = [\"wolf\"] }}\n",
        world.address,
    );
    let runner = Runner::start(&config);
    runner.pids(0, &["alice", "alan", HOSTILE[0]]);
    runner
}

fn all() -> Scripted {
    let names = ["alice", "alan", "bob"].into_iter().chain(HOSTILE);
    Scripted::start(names.map(controllable).collect())
}

/// Runs a script of this shell with these arguments; none if the shell is not installed.
#[expect(clippy::print_stderr, reason = "who reads that a test passed has to know")]
fn shell(shell: &[&str], script: &str, args: &[&str], dir: &Path) -> Option<Output> {
    let path = dir.join("drive");
    fs::write(&path, script).unwrap();
    let (name, options) = shell.split_first().unwrap();
    let mut command = Command::new(name);
    command.args(options).arg(&path).arg(PROGRAM).args(args).current_dir(dir);
    match command.env_remove("RUST_LOG").output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: {name} cannot be run ({error}), so nothing is known of it");
            None
        }
    }
}

/// Asks until this is the answer: on a busy machine the runner's may be too late for a Tab.
fn settles<T: PartialEq<U> + Debug, U: Debug>(meant: &U, mut ask: impl FnMut() -> T) {
    let until = Instant::now() + PATIENCE;
    let mut answer = ask();
    while answer != *meant && Instant::now() < until {
        answer = ask();
    }
    assert_eq!(answer, *meant);
}

/// What bash offers in the place of the last word, once with each reply as it is, and once with
/// what bash itself makes of it in a command line.
const BASH: &str = r#"
source <("$1" completions bash); shift
COMP_WORDS=(runner "$@") COMP_CWORD=$# COMP_TYPE=9
_clap_complete_runner runner "${!#}" ""
for reply in "${COMPREPLY[@]}"; do
    eval "set -- $reply"
    printf '%s<%s>\n' "$reply" "$@"
done
"#;

fn bash(dir: &Path, words: &[&str]) -> Vec<String> {
    let (code, stdout, stderr) = said(&shell(&["bash", "--norc"], BASH, words, dir).unwrap());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}: {stdout}");
    let reply = |line: &str| {
        let (reply, read) = line.split_once('<').unwrap();
        assert_eq!(read, format!("{reply}>"), "bash reads one word");
        reply.to_owned()
    };
    stdout.lines().map(reply).filter(|it| !it.starts_with('-')).collect()
}

#[test]
fn bash_completes_the_names_that_mean_only_themselves() {
    let world = all();
    let runner = started(&world);
    let dir = runner.dir.path();
    let offers = |words: &[&str], current: &str, meant: &[&str]| {
        let words: Vec<_> =
            words.iter().copied().chain(["--state-dir", "state", current]).collect();
        settles(&meant, || bash(dir, &words));
    };
    offers(&["get", "agents"], "al", &["alan", "alice"]);
    offers(&["restart"], "", &["alan", "alice", "bob"]);
    offers(&["why"], "b", &["bob"]);
    offers(&["describe", "agent"], "b", &["bob"]);
    offers(&["logs", "alice"], "b", &["bob"]);
    offers(&["rollout", "pause"], "", &["default"]);
    offers(&["get", "templates"], "d", &["default"]);
    offers(&["resume"], "", &[]);
    data(&runner, &["suspend", "bob"]);
    offers(&["resume"], "", &["bob"]);
    offers(&["suspend"], "bo", &["bob"]);
    assert!(!dir.join("pwned").exists());
    runner.stop();
}

#[test]
fn bash_completes_verbs_values_and_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir_all(dir.join("configs")).unwrap();
    fs::create_dir_all(dir.join("more")).unwrap();
    for path in ["configs/demo.toml", "mine.toml", "mine.txt", "m;touch pwned.toml"] {
        fs::write(dir.join(path), "").unwrap();
    }
    assert_eq!(bash(dir, &["comp"]), ["completions"]);
    assert_eq!(bash(dir, &["get", "ent"]), ["entities"]);
    assert_eq!(bash(dir, &["get", "agents", "-o", "j"]), ["json"]);
    assert_eq!(bash(dir, &["validate", "--config", "d"]), ["demo"]);
    assert_eq!(bash(dir, &["validate", "-c", "m"]), ["mine.toml", "more/"]);
    assert_eq!(bash(dir, &["status", "--state-dir", "m"]), ["more/"]);
}

/// Types a command line with a Tab into an interactive zsh, and writes down what it ran.
const ZSH: &str = r#"
zmodload zsh/zpty zsh/zselect
rm -f ready ran
zpty shell 'PS1= zsh -f -i'
zpty -w shell "autoload -U compinit; compinit -u -D; source <($1 completions zsh)"
zpty -w shell 'runner() { print -rl -- "$@" > new; mv new $OUT }; OUT=ready runner'
for _ in {1..400}; do [[ -e ready ]] && break; zselect -t 5; zpty -r -t shell line; done
zpty -w shell 'OUT=ran'
zpty -w -n shell "$2"$'\t'
zpty -w -n shell $'\n'
for _ in {1..400}; do [[ -e ran ]] && break; zselect -t 5; zpty -r -t shell line; done
zpty -d shell
cat ran
"#;

#[test]
fn zsh_quotes_the_names_that_need_it() {
    let world = all();
    let runner = started(&world);
    let hostile = HOSTILE.iter().take(QUOTABLE).map(|name| (&name[..1], *name));
    for (typed, meant) in [("al", "al"), ("bo", "bob")].into_iter().chain(hostile) {
        let line = format!("runner why --state-dir state {typed}");
        let ran = || shell(&["zsh", "-f"], ZSH, &[&line], runner.dir.path());
        if ran().is_none() {
            return;
        }
        let meant = format!("why\n--state-dir\nstate\n{meant}\n");
        settles(&meant, || said(&ran().unwrap()).1);
    }
    assert!(!runner.dir.path().join("pwned").exists());
    runner.stop();
}

/// What fish puts into the command line for each candidate, as fish itself reads it.
const FISH: &str = r"
$argv[1] completions fish | source
for candidate in (complete --escape -C $argv[2])
    set -l word (string split -f1 \t -- $candidate)
    string match -q -- '-*' $word; and continue
    eval set -l read $word
    echo (count $read) $read
end
";

#[test]
fn fish_quotes_the_names_that_need_it() {
    let world = all();
    let runner = started(&world);
    let line = "runner why --state-dir state ";
    let args = ["fish", "--no-config"];
    let ran = || shell(&args, FISH, &[line], runner.dir.path());
    if ran().is_none() {
        return;
    }
    let mut meant = vec!["1 alan".to_owned(), "1 alice".to_owned(), "1 bob".to_owned()];
    meant.extend(HOSTILE.iter().take(QUOTABLE).map(|name| format!("1 {name}")));
    meant.sort_unstable();
    settles(&meant, || {
        let mut offered: Vec<_> = said(&ran().unwrap()).1.lines().map(str::to_owned).collect();
        offered.sort_unstable();
        offered
    });
    assert!(!runner.dir.path().join("pwned").exists());
    runner.stop();
}

/// Asks as a shell does.
fn asked(shell: &str, words: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env("RUNNER_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.args(["--", "runner"]).args(words).current_dir(dir).output().unwrap()
}

#[test]
fn shells_that_are_seldom_installed_are_answered_too() {
    let world = all();
    let runner = started(&world);
    let names = |shell: &str| {
        let words = ["why", "--state-dir", "state", ""];
        let (code, stdout, stderr) = said(&asked(shell, &words, runner.dir.path()));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{shell}");
        let names = stdout.lines().filter_map(|line| line.split('\t').next());
        names.filter(|name| !name.starts_with('-')).map(str::to_owned).collect::<Vec<_>>()
    };
    // It puts what it is told into the command line.
    settles(&["alan", "alice", "bob"], || names("powershell"));
    // It quotes it.
    let quotable = |names: &[String]| HOSTILE.map(|name| names.iter().any(|own| own == name));
    settles(&[true, true, true, true, false, false], || quotable(&names("elvish")));
    runner.stop();
}

#[test]
fn without_an_instance_that_answers_nothing_is_said_and_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["why", "--state-dir", "state", "a"];
    let silent = |output: &Output| {
        assert_eq!(said(output), (Some(0), String::new(), String::new()));
    };
    silent(&asked("bash", &words, dir.path()));
    fs::create_dir(dir.path().join("state")).unwrap();
    // It takes calls and never answers.
    let hanging = UnixListener::bind(dir.path().join("state/control.sock")).unwrap();
    let begun = Instant::now();
    silent(&asked("bash", &words, dir.path()));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(hanging);
    silent(&asked("bash", &["why", "--config", "nowhere", "a"], dir.path()));
    let (_, stdout, stderr) = said(&asked("no-such-shell", &words, dir.path()));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""));
}

#[test]
fn a_program_whose_path_cannot_be_quoted_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("run ner");
    symlink(PROGRAM, &program).unwrap();
    let output = Command::new(program).args(["completions", "bash"]).output().unwrap();
    let (code, stdout, stderr) = said(&output);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("call it by its name, from PATH"), "{stderr}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        assert!(said(&output).1.contains(PROGRAM), "{shell}");
    }
}
