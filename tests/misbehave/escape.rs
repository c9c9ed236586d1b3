//! What an agent tries that it may not: one attempt a line of a file, `VERB A [B]`. What came of
//! each is printed, as `attempt LINE: done` or `attempt LINE: ERROR`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{self, Command};

use nix::sys::ptrace;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

/// Tries all of it.
pub(crate) fn attempts(file: &str) -> io::Result<()> {
    for line in fs::read_to_string(file)?.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let (verb, one, other) = (next(), next(), next());
        let outcome = match attempt(verb, one, other) {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        // In one piece: several write there.
        let told = format!("attempt {line}: {outcome} ({})\n", process::id());
        io::stdout().write_all(told.as_bytes())?;
    }
    Ok(())
}

fn attempt(verb: &str, one: &str, other: &str) -> io::Result<()> {
    match verb {
        "read" => File::open(one).map(drop),
        "list" => fs::read_dir(one).map(drop),
        "write" => fs::write(one, "escaped"),
        "append" => OpenOptions::new().append(true).open(one).map(drop),
        "truncate" => OpenOptions::new().write(true).truncate(true).open(one).map(drop),
        "mkdir" => fs::DirBuilder::new().mode(0o700).create(one),
        "fifo" => Ok(mknodat(CWD, one, FileType::Fifo, Mode::RUSR, 0)?),
        "remove" => fs::remove_file(one),
        "link" => fs::hard_link(one, other),
        "symlink" => symlink(one, other),
        "rename" => fs::rename(one, other),
        "run" => Command::new(one).output().map(drop),
        "signal" => Ok(kill_process(pid(one)?, Signal::CONT)?),
        "trace" => {
            let pid = nix::unistd::Pid::from_raw(pid(one)?.as_raw_nonzero().get());
            ptrace::seize(pid, ptrace::Options::empty())?;
            Ok(ptrace::detach(pid, None)?)
        }
        "connect" => UnixStream::connect(one).map(drop),
        "abstract" => UnixStream::connect_addr(&SocketAddr::from_abstract_name(one)?).map(drop),
        _ => Err(io::Error::other("no such attempt")),
    }
}

fn pid(text: &str) -> io::Result<Pid> {
    let number = text.parse().map_err(io::Error::other)?;
    Pid::from_raw(number).ok_or_else(|| io::Error::other("no process has this number"))
}
