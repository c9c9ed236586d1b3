//! Takes apart what a node hands out of a log: the time before each line, the agent's own bytes, and
//! the node's words.
//!
//! A node that cannot read a log any further writes why into what it has begun to answer, as if the
//! agent had written it (kubernetes/kubernetes#142258). Asked for times, it puts one before each line
//! of the agent's and none before its own; and they tell where to go on.
//!
//! Nodes before 1.27 put a time into the middle of a line of more than 16 KiB as well
//! (kubernetes/kubernetes#113481), where nothing tells it from what the agent wrote.

use std::mem;

use k8s_openapi::jiff::Timestamp;

/// The longest way of writing a time: nanoseconds and an offset.
const LONGEST: usize = "2026-01-01T00:00:00.000000000+00:00".len();

/// The most of the node's words that is kept.
const MOST: usize = 1024;

/// How far a log was taken apart.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    within: Within,
    last: Option<Last>,
    /// How many lines of the last time are to come once more.
    again: u64,
}

/// The time of the last line, how many lines had it, and what is known of the last of them.
#[derive(Clone, Copy, Debug)]
struct Last {
    time: Timestamp,
    lines: u64,
    /// Bytes of it, and whether it was whole.
    taken: usize,
    whole: bool,
}

#[derive(Debug)]
enum Within {
    /// The time before a line: what there is of it.
    Time(Vec<u8>),
    /// A new line, but for so many bytes that were taken before.
    Line { known: usize },
    /// A line that was taken before.
    Known,
    /// What the node says: it is its last.
    Words(Vec<u8>),
}

impl Default for Within {
    fn default() -> Self {
        Self::Time(Vec::new())
    }
}

impl Stamps {
    /// The log is read anew from [`since`](Self::since) on.
    pub(super) fn resume(&mut self) {
        self.within = Within::default();
        self.again = self.last.map_or(0, |last| last.lines);
    }

    /// From when on the log is to be read to go on: the second of the last line. The API knows of
    /// nothing finer, and its client takes the nearest one, which may be the next.
    pub(super) fn since(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.last?.time.as_second()).ok()
    }

    /// What the agent wrote, of what comes next.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut agents = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            bytes = match &mut self.within {
                Within::Time(_) => self.take_time(bytes),
                Within::Line { known } => {
                    let known = *known;
                    let (line, others) = to_the_end_of_the_line(bytes);
                    let new = line.get(known..).unwrap_or_default();
                    agents.extend_from_slice(new);
                    self.within = Within::Line { known: known.saturating_sub(line.len()) };
                    let whole = line.ends_with(b"\n");
                    if let Some(last) = &mut self.last {
                        last.taken += new.len();
                        last.whole = whole;
                    }
                    if whole {
                        self.within = Within::default();
                    }
                    others
                }
                Within::Known => {
                    let (line, others) = to_the_end_of_the_line(bytes);
                    if line.ends_with(b"\n") {
                        self.within = Within::default();
                    }
                    others
                }
                Within::Words(words) => {
                    let room = MOST.saturating_sub(words.len());
                    words.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                    &[]
                }
            };
        }
        agents
    }

    /// What stands before the first space of a line is a time, or the node speaks.
    fn take_time<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Within::Time(begun) = &mut self.within else { return bytes };
        let near = bytes.get(..=LONGEST - begun.len()).unwrap_or(bytes);
        let space = near.iter().position(|&byte| byte == b' ');
        let (more, others) = bytes.split_at(space.unwrap_or(near.len()));
        begun.extend_from_slice(more);
        let time = space.and_then(|_| str::from_utf8(begun).ok()?.parse().ok());
        if let Some(time) = time {
            self.within = self.line(time);
            return others.get(1..).unwrap_or_default();
        }
        if space.is_some() || begun.len() > LONGEST {
            self.within = Within::Words(mem::take(begun));
        }
        others
    }

    /// The line that follows this time.
    fn line(&mut self, time: Timestamp) -> Within {
        let again = mem::take(&mut self.again);
        if again > 0
            && let Some(last) = self.last
            && time <= last.time
        {
            if time < last.time {
                self.again = again;
                return Within::Known;
            }
            self.again = again - 1;
            let is_the_last = again == 1 && !last.whole;
            return if is_the_last { Within::Line { known: last.taken } } else { Within::Known };
        }
        let before = self.last.filter(|last| last.time == time).map_or(0, |last| last.lines);
        self.last = Some(Last { time, lines: before + 1, taken: 0, whole: false });
        Within::Line { known: 0 }
    }

    /// What the node said at the end, if it did.
    pub(super) fn words(&mut self) -> Option<String> {
        let said = match &mut self.within {
            Within::Words(words) | Within::Time(words) => mem::take(words),
            Within::Line { .. } | Within::Known => return None,
        };
        let text = String::from_utf8_lossy(&said).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

fn to_the_end_of_the_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end)
}

#[cfg(test)]
mod tests;
