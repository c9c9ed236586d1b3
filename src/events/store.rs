//! The files that events are kept in: two, of which the older one goes when the newer one is as
//! long as half of what there may be.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Record;
use crate::files::trust::no_link;

/// The newer one, and the older one.
const NAMES: [&str; 2] = ["events", "events.1"];

/// No event is longer, in bytes: an entity has an id of bounded length, and a reason of a few lines.
const LONGEST: u64 = 256 * 1024;

/// Writes events.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    next: u64,
    /// Those that could not be written since the last that could.
    lost: u64,
}

impl Store {
    /// Goes on from what is in this directory.
    pub(super) fn open(dir: &Path) -> Self {
        let last = NAMES.iter().find_map(|name| last(&dir.join(name)));
        Self { dir: dir.to_owned(), next: last.map_or(1, |record| record.seq + 1), lost: 0 }
    }

    /// Gives it its place in the order.
    pub(super) const fn number(&mut self, record: &mut Record) {
        record.seq = self.next;
        self.next += 1;
    }

    pub(super) fn append(&mut self, records: &[Record], max_bytes: u64) {
        if records.is_empty() {
            return;
        }
        match self.try_append(records, max_bytes) {
            Ok(()) if self.lost > 0 => {
                // Without a name of its own, which would be kept too, and be lost too.
                tracing::warn!(lost = self.lost, "events could not be kept; they can again");
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    tracing::error!(%error, "events cannot be kept");
                }
                self.lost += u64::try_from(records.len()).unwrap_or(0);
            }
        }
    }

    fn try_append(&self, records: &[Record], max_bytes: u64) -> io::Result<()> {
        let [newer, older] = NAMES.map(|name| self.dir.join(name));
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        let mut file = open(&newer)?;
        let size = file.metadata()?.len();
        if size > 0 && size + text.len() as u64 > max_bytes / 2 {
            fs::rename(&newer, &older)?;
            file = open(&newer)?;
        }
        file.write_all(&text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(no_link()).open(path)
}

/// The last event in a file; none if it cannot be read: then it was not kept.
fn last(path: &Path) -> Option<Record> {
    let mut file = File::open(path).ok()?;
    let begin = file.metadata().ok()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(begin)).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    end.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())
}

/// The events that are kept in this directory and that are `wanted`, oldest first; of these the
/// latest `limit`. A line that was not finished is left out.
///
/// # Errors
/// If a file cannot be read. That there is none is no error.
pub fn read(dir: &Path, limit: usize, wanted: impl Fn(&Record) -> bool) -> io::Result<Vec<Record>> {
    let mut found = VecDeque::new();
    for name in NAMES.iter().rev() {
        let file = match File::open(dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let Ok(record) = serde_json::from_slice::<Record>(&line?) else { continue };
            if wanted(&record) {
                if found.len() == limit {
                    found.pop_front();
                }
                found.push_back(record);
            }
        }
    }
    Ok(found.into())
}
