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

fn read_from(mut file: &File, begin: u64, into: &mut Vec<u8>) -> io::Result<()> {
    file.seek(SeekFrom::Start(begin))?;
    file.read_to_end(into).map(|_| ())
}
