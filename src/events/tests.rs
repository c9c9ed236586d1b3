//! Real files, and the real log.

use std::fs;

use tracing::{debug, info, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

fn record(entity: &str) -> Record {
    Record { kind: "agent.started".to_owned(), entity: entity.to_owned(), ..Record::default() }
}

fn all(dir: &Path) -> Vec<Record> {
    read(dir, usize::MAX, |_| true).unwrap()
}

/// Does something, and returns the events of it that are kept.
fn kept(dir: &Path, work: impl FnOnce(&Events)) -> Vec<Record> {
    let recorder = Recorder::default();
    let events = Events::keep(&recorder, dir, 1 << 20).unwrap();
    let log = tracing_subscriber::registry().with(recorder.with_filter(Recorder::filter()));
    tracing::subscriber::with_default(log, || work(&events));
    events.flush();
    all(dir)
}

#[test]
fn what_has_a_name_is_kept_with_all_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let kept = kept(dir.path(), |_| {
        info!(event = "agent.started", entity = %"alice", pid = 7, reason = %"why not", "started");
        info!("has no name");
        debug!(event = "agent.pending", entity = "bob", "is left out of the log, and kept");
    });
    let [first, second] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((first.kind.as_str(), first.entity.as_str()), ("agent.started", "alice"));
    assert_eq!((first.message.as_str(), first.reason.as_str()), ("started", "why not"));
    assert_eq!((first.fields["pid"].as_str(), first.level.as_str()), ("7", "info"));
    assert!(first.at_ms > 1_700_000_000_000);
    assert_eq!((second.entity.as_str(), second.seq), ("bob", first.seq + 1));
}

#[test]
fn the_order_goes_on_after_a_restart_and_half_a_line_costs_itself_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = kept(dir.path(), |_| warn!(event = "one", "one"));
    let mut text = fs::read(dir.path().join("events")).unwrap();
    text.extend(b"{\"seq\":2,\"at_\n");
    fs::write(dir.path().join("events"), text).unwrap();
    let both = kept(dir.path(), |_| warn!(event = "two", "two"));
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].seq, first[0].seq + 1);
}

#[test]
fn they_take_no_more_room_than_they_may_and_the_latest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path());
    for n in 0..10_000 {
        let mut record = record(&n.to_string());
        store.number(&mut record);
        store.append(&[record], 100_000);
    }
    let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    assert!(size("events") + size("events.1") <= 100_000);
    let all = all(dir.path());
    assert!(all.len() > 400, "{}", all.len());
    assert_eq!(all.last().unwrap().entity, "9999");
    assert!(all.is_sorted_by_key(|record| record.seq));
    let two = read(dir.path(), 2, |record| record.seq % 2 == 0).unwrap();
    assert_eq!(two.iter().map(|it| it.seq).collect::<Vec<_>>(), [9998, 10_000]);
}

#[test]
fn who_watches_is_told_and_who_is_too_slow_learns_how_much_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut watcher = None;
    kept(dir.path(), |events| {
        watcher = Some(events.watch());
        info!(event = "first", "first");
    });
    let mut watcher = watcher.unwrap();
    assert_eq!(watcher.try_recv().unwrap().kind, "first");
    let recorder = Recorder::default();
    let events = Events::keep(&recorder, dir.path(), 1 << 20).unwrap();
    let mut slow = events.watch();
    let log = tracing_subscriber::registry().with(recorder.with_filter(Recorder::filter()));
    tracing::subscriber::with_default(log, || {
        for _ in 0..2000 {
            info!(event = "many", "many");
        }
    });
    events.flush();
    let missed = slow.try_recv();
    assert!(matches!(missed, Err(broadcast::error::TryRecvError::Lagged(976))), "{missed:?}");
}

/// The files of the product in a folder.
fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_name_in_the_log_is_listed_and_no_other() {
    let mut named = std::collections::BTreeSet::new();
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = fs::read_to_string(file).unwrap();
        for (_, rest) in
            text.match_indices("event = \"").map(|(at, it)| text.split_at(at + it.len()))
        {
            named.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    let listed = KINDS.iter().chain(&kinds::NO_EVENTS).map(|kind| (*kind).to_owned());
    assert_eq!(named, listed.collect());
    assert!(KINDS.is_sorted());
}
