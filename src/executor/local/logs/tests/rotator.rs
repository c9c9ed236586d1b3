//! The task, with its own clock and real files.

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::*;
use crate::clock::Clock;
use crate::executor::misbehave::eventually;

async fn until(what: &'static str, happened: impl FnMut() -> bool + Send + 'static) {
    spawn_blocking(move || eventually(what, happened)).await.unwrap();
}

fn segments(dir: &Path) -> usize {
    let all = fs::read_dir(dir).into_iter().flatten();
    all.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("agent-x.log.0")
    })
    .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_wakes_when_somebody_writes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("logs");
    let settings = Settings { dir: dir.clone(), policy: at_most(10_000) };
    let (settings, seen) = watch::channel(settings);
    let rotator = Rotator::new(seen, Clock::new());
    let mut status = rotator.status();
    let task = tokio::spawn(rotator.run());
    let place = dir.clone();
    until("the directory", move || place.is_dir()).await;

    // Each of these comes after a quiet time, or within a busy one: it must not matter.
    for round in 1..=3 {
        let line = format!("round {round}\n");
        fs::write(dir.join("other"), "stirs as well").unwrap();
        let mut log = OpenOptions::new().append(true).create(true).open(dir.join(NAME)).unwrap();
        log.write_all(line.repeat(1500).as_bytes()).unwrap();
        let place = dir.clone();
        until("a segment", move || segments(&place) >= round).await;
    }

    // Another policy is carried out at once, without anybody writing.
    settings.send_modify(|settings| settings.policy.keep = 1);
    let place = dir.clone();
    until("a drop", move || segments(&place) == 1).await;
    status.wait_for(|status| status.dropped >= 2).await.unwrap();
    assert_eq!(status.borrow().full, 0);

    // And another directory, beside the one before.
    let second = temp.path().join("second");
    settings.send_modify(|settings| settings.dir.clone_from(&second));
    let place = second.clone();
    until("the other directory", move || place.is_dir()).await;
    for dir in [&second, &dir] {
        fs::write(dir.join("agent-x2.log"), "a line\n".repeat(2000)).unwrap();
        let place = dir.join("agent-x2.log.00000001.0-9996");
        until("a segment", move || place.exists()).await;
    }
    task.abort();
}
