//! Reading what an agent wrote, from its segments and its live log.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::dir::{Dir, Lock};
use super::live::Live;
use crate::executor::log_name;
use crate::plan::EntityId;

/// All that is kept of what the agents of `entity` wrote, in order.
///
/// # Errors
/// If the directory or a file in it cannot be read. An agent that wrote nothing is no error.
pub fn joined(log_dir: &Path, entity: &EntityId) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    // The lock is waited for.
    let Some(dir) = Dir::lock(log_dir, Lock::Read)? else { return Ok(all) };
    let name = log_name(entity);
    let log = dir.log(&name)?;
    for segment in &log.segments {
        let file = File::open(dir.path(&segment.name(&name)))?;
        read_from(&file, segment.begin(), &mut all)?;
    }
    if let Some(live) = Live::open(&dir, &name, &log, false)? {
        read_from(&live.file, live.begin, &mut all)?;
    }
    Ok(all)
}

/// The last of what the agents of `entity` wrote, at most about `most` bytes of it. What is no
/// UTF-8 is replaced. Waits for no lock: at worst, what is being cut off just now is missing.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn tail(log_dir: &Path, entity: &EntityId, most: u64) -> io::Result<String> {
    tail_of(&log_dir.join(log_name(entity)), most)
}

/// The same of the log at this path.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn tail_of(log: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let begin = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(begin))?;
    let mut last = Vec::new();
    file.take(most).read_to_end(&mut last)?;
    // Zeros: what was there was cut off.
    last.retain(|byte| *byte != 0);
    Ok(String::from_utf8_lossy(&last).into_owned())
}

fn read_from(mut file: &File, begin: u64, into: &mut Vec<u8>) -> io::Result<()> {
    file.seek(SeekFrom::Start(begin))?;
    file.read_to_end(into).map(|_| ())
}
