//! `runner logs`: what agents wrote, from the files themselves: they are there without a runner too.
//! What pods wrote the runner reads from the cluster.

mod pods;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use chrono::DateTime;
use clap::Parser;

use super::instance::{InstanceArgs, with};
use super::output::colour;
use super::select::Selection;
use super::{Ending, fail, say};
use crate::clock::wall_time;
use crate::executor::logs::{Follower, HEAD, Writes};
use crate::plan::EntityId;
use crate::proto::control as pb;

/// Show what agents wrote.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner logs wolf-7 --tail 20\n  \
                  runner logs -f -l template=wolves\n  \
                  runner logs wolf-7 --previous\n  \
                  runner logs wolf-7 --log-dir logs      # no runner has to run")]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Go on showing what they write, through restarts of agents and runners.
    #[arg(long, short)]
    follow: bool,
    /// Only the run before the latest.
    #[arg(long, short, conflicts_with = "follow")]
    previous: bool,
    /// Only so many of the last lines of each.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    tail: Option<usize>,
    /// Only the runs that began within this time: `90s`, `5m`, `2h`. What an agent wrote has no
    /// time of its own.
    #[arg(long, value_name = "TIME", value_parser = super::operate::time_span)]
    since: Option<Duration>,
    /// Put the name before each line, also where there is one only.
    #[arg(long)]
    prefix: bool,
    /// Where the logs are, if no runner is to be asked.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "name", "state_dir"])]
    log_dir: Option<PathBuf>,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) fn run(args: &Args) -> Ending {
    if args.selection.is_empty() {
        say("error: say whose: a name, a pattern such as '*', or `-l template=…`");
        return Ending::Wrong;
    }
    let (log_dir, names) = match whose(args) {
        Ok(Whose::InFiles(log_dir, names)) => (log_dir, names),
        Ok(Whose::Shown(ending)) | Err(ending) => return ending,
    };
    if names.is_empty() {
        say("error: nobody is selected");
        return Ending::Failed;
    }
    shown(show(args, &log_dir, &names))
}

fn shown(result: io::Result<Ending>) -> Ending {
    match result {
        Ok(ending) => ending,
        // Who read has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ending::Done,
        Err(error) => fail("the logs cannot be read", &error),
    }
}

/// Whose logs are meant.
enum Whose {
    /// Of these, and they are in this directory.
    InFiles(PathBuf, Vec<String>),
    /// Of pods; they were shown.
    Shown(Ending),
}

/// Where the logs are, and whose are meant.
fn whose(args: &Args) -> Result<Whose, Ending> {
    if let Some(dir) = &args.log_dir {
        let names = args.selection.plain_names().map(str::to_owned).collect();
        return Ok(Whose::InFiles(dir.clone(), names));
    }
    let mut found = None;
    let asked = with(&args.instance, |mut client| {
        let found = &mut found;
        async move {
            let status = client.get_status(pb::GetStatusRequest {}).await?.into_inner();
            let selector = Some(args.selection.selector());
            let request = pb::ListAgentsRequest { selector, ..pb::ListAgentsRequest::default() };
            let agents = client.list_agents(request).await?.into_inner().agents;
            let mut names: Vec<_> = agents.into_iter().map(|agent| agent.name).collect();
            // Who has no agent now may have had one.
            names.extend(args.selection.plain_names().map(str::to_owned));
            names.sort_unstable();
            names.dedup();
            *found = Some(if status.namespace.is_empty() || names.is_empty() {
                Whose::InFiles(PathBuf::from(status.log_dir), names)
            } else {
                Whose::Shown(shown(pods::show(args, &client, &names).await))
            });
            Ok(Ending::Done)
        }
    });
    found.ok_or(asked)
}

/// One log that is shown.
struct Source<R> {
    reader: R,
    prefix: String,
    lines: Lines,
}

/// What is read in pieces, in whole lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// A line that is not finished.
    rest: Vec<u8>,
}

impl Lines {
    /// Adds a piece, and returns the lines that are finished by it.
    pub(super) fn finished(&mut self, new: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(new);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let unfinished = self.rest.split_off(end);
        std::mem::replace(&mut self.rest, unfinished)
    }
}

fn show(args: &Args, log_dir: &Path, names: &[String]) -> io::Result<Ending> {
    let ids: Vec<_> = names.iter().filter_map(|name| EntityId::new(name).ok()).collect();
    // Before the logs are read: what is written after that is told.
    let mut writes = if args.follow { Some(Writes::of(log_dir, &ids)?) } else { None };
    let mut sources = sources(args, &ids, |id| Follower::new(log_dir, id));
    let mut out = io::stdout().lock();
    let mut any = false;
    for source in &mut sources {
        let all = source.reader.read()?;
        any |= !all.is_empty();
        source.print(&mut out, wanted(args, &all), !args.follow)?;
    }
    let Some(writes) = &mut writes else {
        if !any {
            say("no logs");
        }
        return Ok(if any { Ending::Done } else { Ending::Failed });
    };
    loop {
        out.flush()?;
        writes.wait()?;
        for source in &mut sources {
            let new = source.reader.read()?;
            source.print(&mut out, &new, false)?;
        }
    }
}

/// One for each, with the prefix that it is to have.
fn sources<R>(args: &Args, ids: &[EntityId], reader: impl Fn(&EntityId) -> R) -> Vec<Source<R>> {
    let with_prefix = args.prefix || ids.len() > 1;
    let shown = |id: &EntityId| super::output::escaped(id.as_str()).chars().count();
    let width = ids.iter().map(shown).max().unwrap_or(0);
    let numbered = ids.iter().enumerate();
    let source = |(number, id)| Source {
        reader: reader(id),
        prefix: if with_prefix { prefix(id, number, width) } else { String::new() },
        lines: Lines::default(),
    };
    numbered.map(source).collect()
}

impl<R> Source<R> {
    /// Prints whole lines; what is not finished waits for its end, unless there is none to come.
    fn print(&mut self, out: &mut impl io::Write, new: &[u8], last: bool) -> io::Result<()> {
        for line in self.lines.finished(new).split_inclusive(|byte| *byte == b'\n') {
            out.write_all(self.prefix.as_bytes())?;
            out.write_all(&printable(line))?;
        }
        let rest = &self.lines.rest;
        if last && !rest.is_empty() {
            out.write_all(self.prefix.as_bytes())?;
            out.write_all(&printable(rest))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Nothing that agents write moves the cursor of a terminal, or worse; a file gets all as it is.
fn printable(line: &[u8]) -> Vec<u8> {
    if !io::IsTerminal::is_terminal(&io::stdout()) {
        return line.to_vec();
    }
    let end = if line.ends_with(b"\n") { "\n" } else { "" };
    format!("{}{end}", visible(line)).into_bytes()
}

/// A line without its end, in which all but tabs is printable.
pub(super) fn visible(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let parts: Vec<_> = text.split('\t').map(super::output::escaped).collect();
    parts.join("\t")
}

fn prefix(id: &EntityId, number: usize, width: usize) -> String {
    const COLOURS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Yellow,
        AnsiColor::Green,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::Red,
    ];
    let style = match COLOURS.get(number % COLOURS.len()).filter(|_| colour()) {
        Some(colour) => colour.on_default(),
        None => Style::new(),
    };
    format!("{style}{:<width$} |{style:#} ", super::output::escaped(id.as_str()))
}

/// The part of a log that is asked for.
fn wanted<'l>(args: &Args, all: &'l [u8]) -> &'l [u8] {
    part_of(all, args.previous, args.since, args.tail)
}

/// Of the run before the latest only, of those that began within some time, so many lines.
fn part_of(all: &[u8], previous: bool, since: Option<Duration>, tail: Option<usize>) -> &[u8] {
    let mut part = all;
    if previous {
        let heads = heads(all);
        let before = heads.len().checked_sub(2).and_then(|at| heads.get(at..));
        part = match before {
            Some([first, last, ..]) => all.get(*first..*last).unwrap_or_default(),
            _ => &[],
        };
    }
    if let Some(since) = since {
        let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let from = now.saturating_sub(since);
        let late = heads(part)
            .into_iter()
            .find(|at| part.get(*at..).and_then(begun).is_some_and(|begun| begun >= from));
        part = late.and_then(|at| part.get(at..)).unwrap_or_default();
    }
    match tail {
        Some(0) => &[],
        Some(lines) => last_lines(part, lines),
        None => part,
    }
}

/// Where the runs begin.
fn heads(log: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut heads = Vec::new();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(HEAD.as_bytes()) {
            heads.push(at);
        }
        at += line.len();
    }
    heads
}

/// When the run began whose head this is, as time since 1970.
fn begun(head: &[u8]) -> Option<Duration> {
    let time = head.get(HEAD.len()..)?.split(|byte| *byte == b' ').next()?;
    let time = DateTime::parse_from_rfc3339(std::str::from_utf8(time).ok()?).ok()?;
    u64::try_from(time.timestamp_millis()).ok().map(Duration::from_millis)
}

fn last_lines(log: &[u8], lines: usize) -> &[u8] {
    let without_end = log.strip_suffix(b"\n").unwrap_or(log);
    let ends = without_end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let begin = ends.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0);
    log.get(begin..).unwrap_or_default()
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;
