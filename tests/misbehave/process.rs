//! A process for the tests that misbehaves on request. Its flags can be combined:
//!
//! | flag | what it does |
//! |---|---|
//! | `--lock FILE` | holds an exclusive lock for life; if it cannot, notes it in `FILE.violations` and exits 99 |
//! | `--setsid` | leaves its session and group (not as a group's leader) |
//! | `--ignore-term` | survives SIGTERM |
//! | `--block-signals` | blocks all signals, which stay pending |
//! | `--note-term FILE` | adds its pid to FILE at each SIGTERM |
//! | `--on-term-exit CODE` | exits with CODE at SIGTERM |
//! | `--term-delay-ms MS` | takes that long to exit at SIGTERM, with the code above or 0 |
//! | `--fork N` | starts N of itself in its group, and never waits for them |
//! | `--setsid-child` | starts one of itself in a session of its own |
//! | `--grandchild-FLAG […]` | hands `--FLAG […]` to those |
//! | `--when FILE` | does nothing of what follows before there is such a file |
//! | `--attempts FILE` | tries what stands in FILE (`escape.rs`), and prints what came of it |
//! | `--bomb DEPTH` | starts two of itself that do the same with DEPTH - 1, however often they have to try |
//! | `--allocate MIB` | takes so much memory, and uses it |
//! | `--touch FILE` | adds `pid start-time` to FILE once all of the above is done |
//! | `--print N` | prints N lines |
//! | `--flood` | prints lines for as long as it lives |
//! | `--exit-after-ms MS` | exits after MS, with `--code CODE` or 0 |
//! | `--signal-self SIG` | sends itself this signal (by number) when it would exit, or else at once |
//!
//! Everything else on its command line (`--server X --entity Y`) is ignored. Whatever it was told,
//! it exits with 98 after two minutes, so that no test leaves it behind.

#[path = "escape.rs"]
mod escape;

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{self, Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use runner::executor::hidden_verb;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, getpid, kill_process, setsid};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const LIFETIME: Duration = Duration::from_secs(120);
const OUTLIVED: i32 = 98;
const LOCKED_OUT: i32 = 99;
/// Between two tries.
const MOMENT: Duration = Duration::from_millis(10);
/// Of a bomb: no machine is to be brought down by one that nobody holds.
const DEEPEST: u32 = 7;

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Options {
    lock: Option<String>,
    setsid: bool,
    block_signals: bool,
    term: OnTerm,
    fork: u32,
    setsid_child: bool,
    grandchild: Vec<String>,
    when: Option<String>,
    attempts: Option<String>,
    bomb: u32,
    allocate: usize,
    touch: Option<String>,
    print: u32,
    flood: bool,
    exit_after: Option<Duration>,
    code: i32,
    signal_self: Option<Signal>,
}

#[derive(Debug, Default)]
struct OnTerm {
    ignore: bool,
    note: Option<String>,
    exit: Option<i32>,
    delay: Option<Duration>,
}

fn main() -> Result<ExitCode> {
    // The lib's own tests have no other program that could be a server of gates.
    let mut args = std::env::args_os().skip(1);
    if let Some(hidden) = args.next().as_deref().and_then(hidden_verb) {
        return Ok(hidden(&args.collect::<Vec<_>>()));
    }
    misbehave().map(|()| ExitCode::SUCCESS)
}

fn misbehave() -> Result<()> {
    let born = Instant::now();
    let options = Options::parse(std::env::args().skip(1))?;
    let _lock = options.lock.as_deref().map(lock).transpose()?;
    if options.setsid {
        setsid()?;
    }
    if options.block_signals {
        SigSet::all().thread_block()?;
    }
    options.term.install()?;
    for _ in 0..options.fork {
        start_another(&options.grandchild, false)?;
    }
    if options.setsid_child {
        start_another(&options.grandchild, true)?;
    }
    while options.when.as_ref().is_some_and(|file| !Path::new(file).exists()) {
        if born.elapsed() > LIFETIME {
            process::exit(OUTLIVED);
        }
        thread::sleep(MOMENT);
    }
    if let Some(file) = &options.attempts {
        escape::attempts(file)?;
    }
    let _memory: Vec<_> = (0..options.allocate).map(|_| vec![1_u8; 1 << 20]).collect();
    bomb(options.bomb, born);
    if let Some(file) = &options.touch {
        append(file, &format!("{} {}", process::id(), start_time()?))?;
    }
    let mut out = io::stdout();
    for line in 0..options.print {
        writeln!(out, "line {line}")?;
    }
    live(&options, born)
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            if let Some(flag) = arg.strip_prefix("--grandchild-") {
                options.grandchild.push(format!("--{flag}"));
                if takes_value(flag) {
                    options.grandchild.push(value(&mut args, &arg)?);
                }
            } else if let Some(flag) = arg.strip_prefix("--") {
                let value = if takes_value(flag) { value(&mut args, &arg)? } else { String::new() };
                options.set(flag, value)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, flag: &str, value: String) -> Result<()> {
        match flag {
            "lock" => self.lock = Some(value),
            "setsid" => self.setsid = true,
            "block-signals" => self.block_signals = true,
            "ignore-term" => self.term.ignore = true,
            "note-term" => self.term.note = Some(value),
            "on-term-exit" => self.term.exit = Some(value.parse()?),
            "term-delay-ms" => self.term.delay = Some(millis(&value)?),
            "fork" => self.fork = value.parse()?,
            "setsid-child" => self.setsid_child = true,
            "when" => self.when = Some(value),
            "attempts" => self.attempts = Some(value),
            "bomb" => self.bomb = value.parse::<u32>()?.min(DEEPEST),
            "allocate" => self.allocate = value.parse()?,
            "touch" => self.touch = Some(value),
            "print" => self.print = value.parse()?,
            "flood" => self.flood = true,
            "exit-after-ms" => self.exit_after = Some(millis(&value)?),
            "code" => self.code = value.parse()?,
            "signal-self" => self.signal_self = Signal::from_named_raw(value.parse()?),
            _ => {}
        }
        Ok(())
    }
}

/// The flags that are followed by a value; of those that are ignored, all that agents are given.
fn takes_value(flag: &str) -> bool {
    [
        "lock",
        "note-term",
        "on-term-exit",
        "term-delay-ms",
        "fork",
        "when",
        "attempts",
        "bomb",
        "allocate",
        "touch",
        "print",
        "exit-after-ms",
        "code",
        "signal-self",
        "server",
        "entity",
    ]
    .contains(&flag)
}

fn value(args: &mut impl Iterator<Item = String>, flag: &str) -> Result<String> {
    args.next().ok_or_else(|| format!("{flag} needs a value").into())
}

fn millis(value: &str) -> Result<Duration> {
    Ok(Duration::from_millis(value.parse()?))
}

impl OnTerm {
    /// Takes SIGTERM over, if anything is to be done at it.
    fn install(&self) -> Result<()> {
        let exits = self.exit.is_some() || self.delay.is_some();
        if !self.ignore && self.note.is_none() && !exits {
            return Ok(());
        }
        let mut signals = Signals::new([SIGTERM])?;
        let (note, ignore) = (self.note.clone(), self.ignore);
        let (code, delay) = (self.exit.unwrap_or(0), self.delay.unwrap_or_default());
        thread::spawn(move || {
            for _ in signals.forever() {
                if let Some(file) = &note {
                    let _ = append(file, &process::id().to_string());
                }
                if !ignore {
                    thread::sleep(delay);
                    process::exit(code);
                }
            }
        });
        Ok(())
    }
}

/// Lives until it was told to exit, or to die, or for its lifetime.
fn live(options: &Options, born: Instant) -> Result<()> {
    let at_once = options.signal_self.map(|_| Duration::ZERO);
    let told = options.exit_after.or(at_once);
    let end = born + told.unwrap_or(LIFETIME).min(LIFETIME);
    let mut out = io::stdout();
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if options.flood {
            let _ = writeln!(out, "and on, and on, and on it goes, line after line after line");
        } else {
            thread::sleep(left);
        }
    }
    while let Some(signal) = options.signal_self {
        kill_process(getpid(), signal)?;
        thread::sleep(Duration::from_millis(1));
    }
    process::exit(if told.is_some() { options.code } else { OUTLIVED })
}

/// A bomb goes off in every process of it, and each has a bound: 2^(depth + 1) processes in all.
fn bomb(depth: u32, born: Instant) {
    let Some(next) = depth.checked_sub(1) else { return };
    let args = ["--bomb".to_owned(), next.to_string()];
    let mut started = 0;
    while started < 2 && born.elapsed() < LIFETIME {
        match start_another(&args, false) {
            Ok(()) => started += 1,
            Err(_) => thread::sleep(MOMENT),
        }
    }
}

fn start_another(args: &[String], setsid: bool) -> Result<()> {
    let setsid = setsid.then_some("--setsid");
    Command::new(std::env::current_exe()?).args(args).args(setsid).spawn()?;
    Ok(())
}

/// Takes the lock for as long as the file is open: in this process only, as std opens files so
/// that children do not inherit them.
fn lock(path: &str) -> Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
        append(&format!("{path}.violations"), &format!("{} {}", process::id(), start_time()?))?;
        process::exit(LOCKED_OUT);
    }
    Ok(file)
}

/// Adds a line, whole: several processes may add theirs at once.
fn append(path: &str, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// In ticks since boot: with the pid, it names a process for good.
fn start_time() -> Result<String> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything, so count from its end, where field 3 follows.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
    let start = fields.and_then(|mut fields| fields.nth(22 - 3));
    Ok(start.ok_or("no start time in /proc/self/stat")?.to_owned())
}
