//! Every way of saving a file, on real files.
//!
//! The events are awaited; the only sleeps are the pauses that a writer makes.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::load;

/// A right file that is told from others by this number.
fn text(number: usize) -> String {
    format!(
        "[runner]\nmax_agents = {number}\n\n[agents.default]\nmodule = \"agents.random_agent\"\n"
    )
}

/// A file under watch.
struct Bench {
    dir: TempDir,
    watch: Watch,
}

impl Bench {
    /// `prepare` makes the file, and says where it is.
    fn new(prepare: impl FnOnce(&Path) -> PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = prepare(dir.path());
        let loaded = load(&path, &Overrides::default()).unwrap();
        let watch = watch(&path, Overrides::default(), loaded.bytes).unwrap();
        Self { dir, watch }
    }

    fn plain() -> Self {
        Self::new(|dir| {
            fs::write(dir.join("a.toml"), text(1)).unwrap();
            dir.join("a.toml")
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn next(&mut self) -> Reload {
        let next = timeout(Duration::from_secs(20), self.watch.reloads.recv());
        next.await.expect("a report in time").expect("the watcher lives")
    }

    /// Awaits the report of the file with `number`.
    async fn applied(&mut self, number: usize) {
        match self.next().await {
            Reload::Applied(config) => assert_eq!(config.rules.max_agents, number),
            other @ (Reload::Rejected(_) | Reload::Unreadable(_)) => {
                panic!("{other:?} in place of {number}")
            }
        }
    }

    /// Nothing but what was awaited has been reported: a look on request is the next report.
    async fn nothing_else(&mut self, number: usize) {
        self.watch.reloader.reload_now();
        self.applied(number).await;
        assert!(self.watch.reloads.try_recv().is_err());
    }
}

/// Writes a file in three pieces, each of them valid on its own, with pauses.
fn write_in_pieces(path: &Path, whole: &str) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [&whole[..9], &whole[9..26], &whole[26..]] {
        thread::sleep(Duration::from_millis(80));
        file.write_all(piece.as_bytes()).unwrap();
        file.flush().unwrap();
    }
}

#[tokio::test]
async fn renamed_over() {
    let mut bench = Bench::plain();
    for number in 2..5 {
        fs::write(bench.path(".a.toml.swp"), text(number)).unwrap();
        fs::rename(bench.path(".a.toml.swp"), bench.path("a.toml")).unwrap();
        bench.applied(number).await;
    }
    bench.nothing_else(4).await;
}

#[tokio::test]
async fn truncated_and_rewritten_in_pieces() {
    let mut bench = Bench::plain();
    for number in 22..25 {
        write_in_pieces(&bench.path("a.toml"), &text(number));
        bench.applied(number).await;
    }
    bench.nothing_else(24).await;
}

#[tokio::test]
async fn edited_in_place_with_the_same_size() {
    let mut bench = Bench::plain();
    for number in 2..5 {
        let mut file = fs::OpenOptions::new().write(true).open(bench.path("a.toml")).unwrap();
        file.seek(SeekFrom::Start(22)).unwrap();
        file.write_all(number.to_string().as_bytes()).unwrap();
        drop(file);
        bench.applied(number).await;
    }
    bench.nothing_else(4).await;
}

#[tokio::test]
async fn swapped_as_a_config_map_is() {
    let mut bench = Bench::new(|dir| {
        fs::create_dir(dir.join("..1")).unwrap();
        fs::write(dir.join("..1/a.toml"), text(1)).unwrap();
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/a.toml", dir.join("a.toml")).unwrap();
        dir.join("a.toml")
    });
    for number in 2..5 {
        let version = format!("..{number}");
        fs::create_dir(bench.path(&version)).unwrap();
        fs::write(bench.path(&version).join("a.toml"), text(number)).unwrap();
        symlink(&version, bench.path("..data_tmp")).unwrap();
        fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
        fs::remove_dir_all(bench.path(&format!("..{}", number - 1))).unwrap();
        bench.applied(number).await;
    }
    bench.nothing_else(4).await;
}

#[tokio::test]
async fn edited_behind_a_link_into_another_directory() {
    let mut bench = Bench::new(|dir| {
        for name in ["near", "far", "farther"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        fs::write(dir.join("far/b.toml"), text(1)).unwrap();
        symlink("../far/b.toml", dir.join("near/a.toml")).unwrap();
        dir.join("near/a.toml")
    });
    fs::write(bench.path("far/b.toml"), text(2)).unwrap();
    bench.applied(2).await;
    // The link goes elsewhere, and from then on what it leads to is watched there.
    fs::write(bench.path("farther/c.toml"), text(3)).unwrap();
    symlink("../farther/c.toml", bench.path("near/new")).unwrap();
    fs::rename(bench.path("near/new"), bench.path("near/a.toml")).unwrap();
    bench.applied(3).await;
    fs::write(bench.path("farther/c.toml"), text(4)).unwrap();
    bench.applied(4).await;
    fs::write(bench.path("far/b.toml"), text(5)).unwrap();
    bench.nothing_else(4).await;
}

#[tokio::test]
async fn deleted_and_made_again() {
    let mut bench = Bench::plain();
    // At once, it is a save like any other.
    fs::remove_file(bench.path("a.toml")).unwrap();
    fs::write(bench.path("a.toml"), text(2)).unwrap();
    bench.applied(2).await;
    fs::remove_file(bench.path("a.toml")).unwrap();
    let Reload::Unreadable(error) = bench.next().await else { panic!() };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    // That the file is back is news, whatever it holds.
    fs::write(bench.path("a.toml"), text(2)).unwrap();
    bench.applied(2).await;
    bench.nothing_else(2).await;
}

#[tokio::test]
async fn the_directory_made_again() {
    let mut bench = Bench::new(|dir| {
        fs::create_dir(dir.join("configs")).unwrap();
        fs::write(dir.join("configs/a.toml"), text(1)).unwrap();
        dir.join("configs/a.toml")
    });
    for number in 2..4 {
        fs::remove_dir_all(bench.path("configs")).unwrap();
        assert!(matches!(bench.next().await, Reload::Unreadable(_)));
        fs::create_dir(bench.path("configs")).unwrap();
        fs::write(bench.path("configs/a.toml"), text(number)).unwrap();
        bench.applied(number).await;
    }
}

#[tokio::test]
async fn empty_for_a_while() {
    let mut bench = Bench::plain();
    fs::write(bench.path("a.toml"), "").unwrap();
    thread::sleep(Duration::from_millis(400));
    fs::write(bench.path("a.toml"), text(2)).unwrap();
    bench.applied(2).await;
    // For good, it is a mistake, and said once.
    fs::write(bench.path("a.toml"), "").unwrap();
    let Reload::Rejected(mistakes) = bench.next().await else { panic!() };
    assert!(mistakes.to_string().contains("the file is empty"), "{mistakes}");
    fs::write(bench.path("a.toml"), text(3)).unwrap();
    bench.applied(3).await;
    bench.nothing_else(3).await;
}

#[tokio::test]
async fn wrong_and_right_again() {
    let mut bench = Bench::plain();
    fs::write(bench.path("a.toml"), "[runner]\nmax_agent = 3\n").unwrap();
    let Reload::Rejected(mistakes) = bench.next().await else { panic!() };
    assert!(mistakes.to_string().contains("did you mean `max_agents`?"), "{mistakes}");
    fs::write(bench.path("a.toml"), text(1)).unwrap();
    bench.applied(1).await;
    fs::write(bench.path("a.toml"), b"[runner]\nlog_dir = \"\xff\"\n").unwrap();
    let Reload::Rejected(mistakes) = bench.next().await else { panic!() };
    assert!(mistakes.to_string().contains("a.toml:2:12: the file is not UTF-8"), "{mistakes}");
}

#[tokio::test]
async fn saved_with_the_same_content_and_beside_other_files() {
    let mut bench = Bench::plain();
    fs::write(bench.path("a.toml"), text(1)).unwrap();
    fs::write(bench.path("b.toml"), text(7)).unwrap();
    bench.nothing_else(1).await;
}

#[tokio::test]
async fn changed_before_the_watch_began() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, text(1)).unwrap();
    let loaded = load(&path, &Overrides::default()).unwrap();
    fs::write(&path, text(2)).unwrap();
    let watch = watch(&path, Overrides::default(), loaded.bytes).unwrap();
    Bench { dir, watch }.applied(2).await;
}

#[tokio::test]
async fn touched_for_ever() {
    let mut bench = Bench::plain();
    let path = bench.path("a.toml");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::SeqCst) {
                fs::write(path.with_extension("new"), text(2)).unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
                thread::sleep(Duration::from_millis(30));
            }
        }
    });
    bench.applied(2).await;
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    bench.nothing_else(2).await;
}

#[test]
fn directories_on_the_way_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    fs::create_dir_all(base.join("one/two")).unwrap();
    symlink("one/two", base.join("short")).unwrap();
    symlink("loop", base.join("loop")).unwrap();
    let found = |path: &str| -> Vec<PathBuf> {
        crate::files::directories(&base.join(path)).unwrap().into_keys().collect()
    };
    let only_base = std::slice::from_ref(&base);
    assert_eq!(found("a.toml"), only_base);
    assert_eq!(found("short/a.toml"), [base.clone(), base.join("one/two")]);
    assert_eq!(found("one/../a.toml"), only_base);
    assert_eq!(found("missing/deeper/a.toml"), only_base);
    assert!(found("loop").contains(&base));
}

/// The file never stays the same for as long as it would have to.
#[tokio::test]
async fn who_asks_for_the_file_need_not_wait_until_it_stays_the_same() {
    let mut bench = Bench::plain();
    let path = bench.path("a.toml");
    fs::write(&path, text(2)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            for version in 0.. {
                fs::write(path.with_extension("new"), format!("{}# {version}\n", text(2))).unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(30));
            }
        }
    });
    bench.watch.reloader.reload_now();
    bench.applied(2).await;
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
}
