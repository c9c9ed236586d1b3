//! Every way of saving the file, fifty times each: the one agent that changed is replaced, and
//! nobody else is touched.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::harness::{Runner, config_with_special, entities, ids, misbehave};

const TIMES: usize = 50;

/// The pause that an editor makes between two pieces of a file.
const PAUSE: Duration = Duration::from_millis(90);

fn config(version: usize) -> String {
    format!(
        "[runner]\nserver = \"embedded\"\n\
         [agents.default]\ncommand = [{program:?}]\n\
         [agents.edited]\ncommand = [{program:?}]\nargs = [\"--version\", \"{version}\"]\n{}",
        entities(["edited", "alice", "bob"]),
        program = misbehave(),
    )
}

/// Saves fifty versions one way, and waits each time until the edited agent is the new one.
fn fifty_times(prepare: impl Fn(&Path), save: impl Fn(&Path, usize, &str)) {
    fifty_times_with_pauses(prepare, |dir, version, text| {
        save(dir, version, text);
        Duration::ZERO
    });
}

/// The same, with a way that returns how long it paused at the most. Who pauses for longer than the
/// runner waits has saved half a file: that is another case, and one of a machine that is too busy.
fn fifty_times_with_pauses(prepare: impl Fn(&Path), save: impl Fn(&Path, usize, &str) -> Duration) {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let runner = Runner::start_at(dir, &config(0));
    let before = runner.pids(0, &["alice", "bob"]);
    runner.process.event(0, "agent.started", "edited");
    for version in 1..=TIMES {
        let mark = runner.process.mark();
        let pause = save(runner.dir.path(), version, &config(version));
        if pause > 2 * PAUSE {
            #[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
            {
                eprintln!("NOT TESTED from version {version} on: a pause took {pause:?} here");
            }
            return;
        }
        runner.process.event(mark, "agent.started", "edited");
        let stopped = runner.process.all_after(mark, "agent.stopping");
        assert!(stopped.iter().all(|line| line["entity"] == "edited"), "{stopped:?}");
    }
    assert_eq!(runner.process.all_after(0, "config.rejected").len(), 0);
    assert_eq!(runner.process.all_after(0, "config.unreadable").len(), 0);
    let started = runner.process.all_after(0, "agent.started");
    assert_eq!(started.len(), 3 + TIMES, "each of the versions was started once");
    let now = runner.agents();
    let lives = |pid: &u64| now.iter().any(|agent| u64::from(agent.identity.pid) == *pid);
    assert!(before.iter().all(lives), "{before:?} {now:?}");
    runner.stop();
}

#[test]
fn a_file_renamed_over_it() {
    fifty_times(
        |_| {},
        |dir, _, text| {
            fs::write(dir.join(".runner.toml.swp"), text).unwrap();
            fs::rename(dir.join(".runner.toml.swp"), dir.join("runner.toml")).unwrap();
        },
    );
}

#[test]
fn truncated_and_written_in_pieces() {
    fifty_times_with_pauses(
        |_| {},
        |dir, version, text| {
            let mut longest = Duration::ZERO;
            let mut file = fs::File::create(dir.join("runner.toml")).unwrap();
            let pieces = 2 + version % 3;
            for piece in text.as_bytes().chunks(text.len() / pieces + 1) {
                file.write_all(piece).unwrap();
                let written = Instant::now();
                sleep(PAUSE);
                longest = longest.max(written.elapsed());
            }
            longest
        },
    );
}

#[test]
fn rewritten_in_place() {
    fifty_times(|_| {}, |dir, _, text| fs::write(dir.join("runner.toml"), text).unwrap());
}

#[test]
fn a_symlink_swapped_as_a_config_map_is() {
    let data = |dir: &Path, version: usize, text: &str| {
        let data = dir.join(format!("..data_{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("runner.toml"), text).unwrap();
        let next = dir.join("..data_tmp");
        symlink(data.file_name().unwrap(), &next).unwrap();
        fs::rename(next, dir.join("..data")).unwrap();
        if version > 0 {
            fs::remove_dir_all(dir.join(format!("..data_{}", version - 1))).unwrap();
        }
    };
    fifty_times(
        |dir| {
            data(dir, 0, &config(0));
            symlink("..data/runner.toml", dir.join("runner.toml")).unwrap();
        },
        data,
    );
}

#[test]
fn a_wrong_file_or_an_empty_one_is_refused_and_the_last_good_one_stays() {
    let runner = Runner::start(&config(0));
    let before = runner.pids(0, &["alice", "bob", "edited"]);
    for wrong in ["", "[runner]\nservr = \"x\"\n[agents.alice]\nmodule = 3\n", "[runner\n"] {
        let mark = runner.process.mark();
        runner.save(wrong);
        let refused = runner.process.event_of_all(mark, "config.rejected");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("configuration #1 stays in force"), "{message}");
        assert!(message.contains("runner.toml:"), "{message}");
    }
    let mark = runner.process.mark();
    fs::remove_file(runner.config()).unwrap();
    runner.process.event_of_all(mark, "config.unreadable");
    let mark = runner.process.mark();
    runner.save(&config(1));
    runner.process.event(mark, "agent.started", "edited");
    let now = runner.agents();
    let lives = |pid: &u64| now.iter().any(|agent| u64::from(agent.identity.pid) == *pid);
    assert!(before[..2].iter().all(lives));
    runner.stop();
}

#[test]
fn sighup_reads_the_file_now() {
    let runner = Runner::start(&config(0));
    runner.pids(0, &["alice", "bob", "edited"]);
    let mark = runner.process.mark();
    runner.process.signal(rustix::process::Signal::HUP);
    runner.process.event_of_all(mark, "config.unchanged");
    runner.stop();
}

#[test]
fn a_template_edited_among_two_hundred_agents_restarts_exactly_its_own() {
    let (edited, others) = (ids("edited-", 50), ids("other-", 150));
    let config = |version: usize| config_with_special(&edited, &others, version);
    let runner = Runner::start(&config(0));
    for id in edited.iter().chain(&others) {
        runner.process.event(0, "agent.started", id);
    }
    let mark = runner.process.mark();
    runner.save(&config(1));
    for id in &edited {
        runner.process.event(mark, "agent.started", id);
    }
    let stopped = runner.process.all_after(mark, "agent.stopping");
    assert_eq!(stopped.len(), edited.len());
    assert!(stopped.iter().all(|line| line["entity"].as_str().unwrap().starts_with("edited")));
    runner.stop();
}
