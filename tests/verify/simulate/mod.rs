//! The real loop under whatever chance brings, on a clock that is moved by hand: each seed is a
//! story, the same each time it is told. At its end all faults stop; then the promise must be kept
//! within a time, and after that nothing may move.

mod effects;
mod executor;
mod happening;
mod shrink;
mod stage;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use runner::plan::Time;

use happening::{Happening, draw};
use stage::Stage;

/// Seeds that once led to a mistake: told again first each time.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// Calm time within which the promise must be kept: a foreign lease, the grace of a lost one, the
/// delays and confirmations, one after the other, are less.
const PATIENCE: Duration = Duration::from_secs(150);

/// Calm time in which then nothing may move.
const REST: Duration = Duration::from_secs(600);

/// Which stories to tell.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only this one; a story that fails is shortened.
    #[arg(long)]
    seed: Option<u64>,
    /// How many.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How much happens in each.
    #[arg(long, default_value_t = 500)]
    events: usize,
    /// How many threads tell them.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Tells the stories, says which fail, and returns whether none does.
pub(crate) fn check(options: &Options) -> bool {
    if let Some(seed) = options.seed {
        return replay(seed, options.events);
    }
    let old = REGRESSIONS.lines().filter_map(|line| line.split(' ').next()?.parse().ok());
    let seeds: Vec<u64> = old.chain(options.from..options.from + options.seeds).collect();
    let next = AtomicU64::new(0);
    let results = Mutex::new((Vec::new(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&seed) = seeds.get(index) else { return };
                    let end = tell(&draw(seed, options.events));
                    let mut results = results.lock().unwrap();
                    match end {
                        Ok(took) => results.0.push(took),
                        Err(why) => results.1.push((seed, why)),
                    }
                    if results.1.len() > 2 {
                        return;
                    }
                }
            });
        }
    });
    let (mut times, failures) = results.into_inner().unwrap();
    times.sort();
    for (seed, why) in &failures {
        println!("seed {seed}: {why}\n  cargo run --example verify -- simulate --seed {seed}");
    }
    let at = |part: usize| times.get(times.len() * part / 1000).map_or(0.0, Duration::as_secs_f64);
    println!(
        "{} stories of {} events, {} failed; the promise was kept after (simulated) {:.1} s in \
         half of them, {:.1} s in 99 of 100, {:.1} s at the most",
        seeds.len(),
        options.events,
        failures.len(),
        at(500),
        at(990),
        times.last().map_or(0.0, Duration::as_secs_f64),
    );
    failures.is_empty()
}

/// Tells one story, and if it fails the shortest one that is found to fail as well.
fn replay(seed: u64, events: usize) -> bool {
    let story = draw(seed, events);
    match tell(&story) {
        Ok(took) => {
            println!("seed {seed}: the promise was kept after {:.1} s", took.as_secs_f64());
            true
        }
        Err(why) => {
            println!("seed {seed}: {why}");
            let (story, why) = shrink::shrink(story, why, |story| tell(story).err());
            println!("the shortest story found that fails: {why}");
            for happening in story {
                println!("  {happening:?}");
            }
            false
        }
    }
}

/// Tells a story, and returns how long after its end the promise was kept, or what went wrong.
fn tell(story: &[Happening]) -> Result<Duration, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut stage = Stage::new();
        stage.happens(&Happening::Begin).await;
        for happening in story {
            stage.happens(happening).await;
            if let Some(violation) = stage.violation {
                return Err(violation);
            }
        }
        calm(&mut stage).await
    })
}

/// All faults stop.
async fn calm(stage: &mut Stage) -> Result<Duration, String> {
    stage.free_disk();
    stage.happens(&Happening::WorldReturns).await;
    let began = stage.now();
    let mut kept_since = None;
    loop {
        let moved = round(stage).await?;
        let now = stage.now();
        let kept = stage.is_kept().await;
        if kept.is_err() || moved {
            kept_since = None;
        } else {
            kept_since.get_or_insert(now);
        }
        if now - began >= PATIENCE {
            kept?;
            break;
        }
        stage.happens(&Happening::Pass(500)).await;
    }
    let kept_since: Time = kept_since.ok_or("it never rests")?;
    while stage.now() - began < PATIENCE + REST {
        if round(stage).await? {
            return Err("something moves at rest".to_owned());
        }
        stage.happens(&Happening::Pass(20_000)).await;
    }
    stage.is_kept().await?;
    Ok(kept_since - began)
}

/// All that was decided is done, what comes of it is heard, and the world answers. Returns whether
/// anything was done.
async fn round(stage: &mut Stage) -> Result<bool, String> {
    stage.happens(&Happening::Begin).await;
    let mut moved = work(stage).await;
    for happening in [Happening::Poll, Happening::Deliver] {
        stage.happens(&happening).await;
    }
    moved |= work(stage).await;
    stage.violation.take().map_or(Ok(moved), Err)
}

async fn work(stage: &mut Stage) -> bool {
    let mut moved = false;
    loop {
        if !stage.tasks.is_empty() {
            moved = true;
            stage.happens(&Happening::Do(0)).await;
            continue;
        }
        stage.obey();
        let heard = stage.hear();
        stage.settle().await;
        if !heard && stage.tasks.is_empty() {
            return moved;
        }
    }
}
