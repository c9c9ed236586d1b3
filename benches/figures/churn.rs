//! What a runner holds after minutes of trouble, against what it held before.

use std::env;
use std::fs;
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::upheaval::{Random, Upheaval};
use super::vitals::{Holdings, Memory};

const AGENTS: usize = 100;
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const LOOKS: usize = 5;
/// What a runner keeps for the most that there was to do has come together by then.
const WARM_UP: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// It is written anew when it is longer than a MiB, if what it has to tell is shorter than half.
const MOST_JOURNAL: u64 = 2 * MIB;

/// What a runner holds while it is at work.
struct Sample {
    agents: u64,
    /// Open files beyond one for each agent.
    files: u64,
    watches: u64,
    zombies: u64,
    /// Beyond one for each agent.
    cgroups: u64,
    temporary: u64,
    threads: u64,
    memory: Memory,
    journal: u64,
}

impl Sample {
    /// Of several looks, the least of each: what is held for a start or an end that is under way is
    /// given back meanwhile, and what is lost is not.
    fn of(upheaval: &Upheaval) -> Self {
        let looks = std::iter::repeat_with(|| {
            sleep(Duration::from_millis(100));
            upheaval.holdings().unwrap()
        });
        let looks: Vec<_> = looks.take(LOOKS).collect();
        let least = |of: fn(&Holdings) -> usize| count(looks.iter().map(of).min().unwrap());
        let pid = upheaval.runner.process.id();
        let journal = upheaval.runner.dir.path().join("state/journal");
        Self {
            agents: least(|it| it.agents),
            files: least(|it| it.open.values().sum::<usize>().saturating_sub(it.agents)),
            watches: least(|it| it.watches),
            zombies: least(|it| it.zombies),
            cgroups: least(|it| it.cgroups.saturating_sub(it.agents)),
            temporary: least(|it| it.temporary),
            threads: threads(pid),
            memory: Memory::of(pid).unwrap(),
            journal: fs::metadata(journal).unwrap().len(),
        }
    }
}

/// What is no growth, of the medians of two halves.
#[derive(Clone, Copy)]
enum Bound {
    /// The later one is no more than the earlier one.
    Same,
    /// It is no more than a tenth more, or a MiB.
    Memory,
    /// All samples are at most this.
    Most(u64),
}

/// Everything at once, for ten minutes or as many seconds as `RUNNER_CHURN_S` says, from the seed
/// `RUNNER_CHURN_SEED` if there is one. Ends with 1 if anything grows, or is left at the end.
pub(crate) fn churn() {
    let time = Duration::from_secs(asked("RUNNER_CHURN_S").unwrap_or(600));
    let seed = asked("RUNNER_CHURN_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    println!("churn: {AGENTS} agents, {time:.0?}, RUNNER_CHURN_SEED={seed}");
    let mut upheaval = Upheaval::start(seed, AGENTS);
    let before = upheaval.holdings().unwrap();
    let samples = stir(&mut upheaval, Random::new(seed), time);
    upheaval.make_peace();
    let mut faults = table(&samples);
    faults.extend(aftermath(upheaval, &before));
    for fault in &faults {
        println!("FAILED: {fault}");
    }
    if !faults.is_empty() {
        exit(1);
    }
}

fn asked(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().unwrap())
}

/// Makes trouble for this time, and looks on.
fn stir(upheaval: &mut Upheaval, mut random: Random, time: Duration) -> Vec<Sample> {
    let mut within =
        |least: u64, more: usize| Duration::from_millis(least + count(random.below(more)));
    upheaval.make_trouble();
    let begun = Instant::now();
    let [mut edit, mut world] = [begun; 2].map(|now| now + within(1000, 4000));
    let mut sample = begun + WARM_UP.min(time / 10);
    let mut is_away = false;
    let mut samples = Vec::new();
    while begun.elapsed() < time {
        sleep(edit.min(world).min(sample).saturating_duration_since(Instant::now()));
        let now = Instant::now();
        if now >= sample {
            samples.push(Sample::of(upheaval));
            sample = now + SAMPLE_EVERY;
        }
        if now >= world {
            if is_away {
                upheaval.begin_world();
                world = now + within(15_000, 5000);
            } else {
                upheaval.end_world();
                world = now + within(0, 5000);
            }
            is_away = !is_away;
        }
        if now >= edit {
            upheaval.disturb_file();
            edit = now + within(1000, 4000);
        }
    }
    if is_away {
        upheaval.begin_world();
    }
    samples
}

/// Prints the halves beside each other, and returns what grew.
fn table(samples: &[Sample]) -> Vec<String> {
    type Row = (&'static str, fn(&Sample) -> u64, Option<Bound>);
    let rows: [Row; 11] = [
        ("agents", |it| it.agents, None),
        ("open files beyond one an agent", |it| it.files, Some(Bound::Same)),
        ("watched directories", |it| it.watches, Some(Bound::Same)),
        ("zombies", |it| it.zombies, Some(Bound::Same)),
        ("cgroups beyond one an agent", |it| it.cgroups, Some(Bound::Same)),
        ("files in the making", |it| it.temporary, Some(Bound::Same)),
        ("threads", |it| it.threads, None),
        ("resident, KiB", |it| it.memory.resident >> 10, Some(Bound::Memory)),
        ("proportional, KiB", |it| it.memory.proportional >> 10, Some(Bound::Memory)),
        ("anonymous, KiB", |it| it.memory.anonymous >> 10, Some(Bound::Memory)),
        ("journal, KiB", |it| it.journal >> 10, Some(Bound::Most(MOST_JOURNAL >> 10))),
    ];
    println!("\n| least / median / most | first half | second half | bound |\n|---|--:|--:|---|");
    let mut grew = Vec::new();
    for (what, of, bound) in rows {
        let all: Vec<u64> = samples.iter().map(of).collect();
        let (first, second) = all.split_at(all.len() / 2);
        let [first, second] = [first, second].map(|half| {
            let mut half = half.to_vec();
            half.sort_unstable();
            [half[0], half[half.len() / 2], half[half.len() - 1]]
        });
        let (holds, words) = match bound {
            None => (true, String::new()),
            Some(Bound::Same) => (second[1] <= first[1], "no more".to_owned()),
            Some(Bound::Memory) => {
                let most = (first[1] * 11 / 10).max(first[1] + (MIB >> 10));
                (second[1] <= most, format!("median at most {most}"))
            }
            Some(Bound::Most(most)) => (first[2].max(second[2]) <= most, format!("at most {most}")),
        };
        let [first, second] = [first, second].map(|it| it.map(|n| n.to_string()).join(" / "));
        println!("| {what} | {first} | {second} | {words} |");
        if !holds {
            grew.push(format!("{what}: {first}, then {second}, is not {words}"));
        }
    }
    grew
}

fn threads(pid: u32) -> u64 {
    count(fs::read_dir(format!("/proc/{pid}/task")).unwrap().count())
}

/// What is not as it was, now that all is quiet, and what is left when it has ended.
fn aftermath(upheaval: Upheaval, before: &Holdings) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(30);
    let mut after = upheaval.holdings().unwrap();
    while after.exceeds(before) && Instant::now() < until {
        sleep(Duration::from_millis(100));
        after = upheaval.holdings().unwrap();
    }
    let process = &upheaval.runner.process;
    let [starts, exits, applied, refused, outages] =
        ["agent.started", "agent.gone", "config.applied", "config.rejected", "world.lost"]
            .map(|event| process.all_after(0, event).len());
    let named = upheaval.named();
    println!(
        "\n{named} entities, {starts} starts and {exits} ends that were told, {applied} edits taken, \
         {refused} refused, {outages} outages; at rest it holds {after:?}"
    );
    let mut faults = Vec::new();
    if after.exceeds(before) {
        faults.push(format!("before it held {before:?}"));
    }
    let doubled = upheaval.doubled();
    faults.extend((!doubled.is_empty()).then(|| format!("doubled: {doubled:?}")));
    faults.extend(upheaval.end().into_iter().map(|left| format!("left: {left}")));
    faults
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}
