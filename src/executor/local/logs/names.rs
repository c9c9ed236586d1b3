//! The names of files in a log directory.
//!
//! | name | what it is |
//! |---|---|
//! | `agent-x.log` | the live log |
//! | `agent-x.log.00000007.0-1048576` | a copy of these bytes of the live log; if it is empty, it was dropped, and stays to tell where the live log's data begin |
//! | `agent-x.log.00000008.1048576-` | what was the live log before a restart; its data begin there |
//! | `agent-x.log.copy` | a copy in the making |
//!
//! A live log is told from the others by its end, `.log`, whatever its entity is called.

use std::fmt;

const COPY: &str = "copy";

/// A file of a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name<'n> {
    Live(&'n str),
    Segment(&'n str, Segment),
    Copy(&'n str),
}

/// A part of what an agent wrote, that the agent does not write to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) part: Part,
}

/// What of a live log a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Copied { start: u64, end: u64 },
    Retired { start: u64 },
}

impl<'n> Name<'n> {
    /// What the name says; nothing if it is none of ours.
    pub(super) fn parse(name: &'n str) -> Option<Self> {
        if is_live(name) {
            return Some(Self::Live(name));
        }
        let (rest, last) = name.rsplit_once('.')?;
        if last == COPY {
            return is_live(rest).then_some(Self::Copy(rest));
        }
        let (live, number) = rest.rsplit_once('.')?;
        let (start, end) = last.split_once('-')?;
        let (number, start) = (digits(number)?, digits(start)?);
        let part = if end.is_empty() {
            Part::Retired { start }
        } else {
            Part::Copied { start, end: digits(end).filter(|end| *end > start)? }
        };
        let segment = Segment { number, part };
        // Only as we write it: by another name for the same segment its file would not be found.
        let is_ours = is_live(live) && segment.name(live) == name;
        is_ours.then_some(Self::Segment(live, segment))
    }

    /// The name of the live log that it belongs to.
    pub(super) fn live(&self) -> &'n str {
        match self {
            Self::Live(live) | Self::Segment(live, _) | Self::Copy(live) => live,
        }
    }
}

fn is_live(name: &str) -> bool {
    name.strip_prefix("agent-").and_then(|rest| rest.strip_suffix(".log")).is_some()
}

/// Unlike `parse`, takes no sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Segment {
    /// The name of this segment of a log.
    pub(super) fn name(self, live: &str) -> String {
        format!("{live}.{self}")
    }

    /// From where on its file is part of what the agent wrote.
    pub(super) fn begin(self) -> u64 {
        match self.part {
            Part::Copied { .. } => 0,
            Part::Retired { start } => start,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, part } = self;
        match part {
            Part::Copied { start, end } => write!(f, "{number:08}.{start}-{end}"),
            Part::Retired { start } => write!(f, "{number:08}.{start}-"),
        }
    }
}

/// The name of a copy in the making.
pub(super) fn copy_name(live: &str) -> String {
    format!("{live}.{COPY}")
}
