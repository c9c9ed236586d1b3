//! Which files an agent may use, held to by the kernel (Landlock): put in force by the gate, and so
//! by the agent's own process before it runs, for it and for all that it will ever start.
//!
//! Files are only a part of it: processes outside of the sandbox cannot be traced, and, where the
//! kernel can do that, neither signalled nor reached through sockets without a place in the file
//! system.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};

use rustix::io::Errno;

use crate::plan::Sandbox;

/// The least that holds: before that, files outside could be cut to nothing.
const LEAST: ABI = ABI::V3;
/// All that is known; what the kernel does not know is left out.
const MOST: ABI = ABI::V10;

/// What every process may use. All of it is without a state that others see.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The files that an agent may use: paths that are there, relative to its working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::executor) struct Walls {
    pub(super) read: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
}

impl From<&Sandbox> for Walls {
    fn from(sandbox: &Sandbox) -> Self {
        let paths = |paths: &[String]| paths.iter().map(PathBuf::from).collect();
        Self { read: paths(&sandbox.read), write: paths(&sandbox.write) }
    }
}

/// Walls that stand ready. The paths are looked up already, as whoever the process is by now.
pub(super) struct Ready(RulesetCreated);

impl Walls {
    /// # Errors
    /// If a path is not there, or the kernel does not hold agents to it.
    pub(super) fn build(&self) -> io::Result<Ready> {
        let (least, most) = (AccessFs::from_all(LEAST), AccessFs::from_all(MOST));
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(least)
            .map_err(refused)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(most)
            .map_err(refused)?
            .scope(Scope::from_all(MOST))
            .map_err(refused)?
            .create()
            .map_err(refused)?;
        let read = AccessFs::from_read(MOST);
        for path in &self.read {
            rules = allow(rules, path, read)?;
        }
        for path in &self.write {
            rules = allow(rules, path, most)?;
        }
        for device in DEVICES.map(Path::new) {
            // Some containers lack some of them.
            if device.exists() {
                let access = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
                rules = allow(rules, device, access)?;
            }
        }
        Ok(Ready(rules))
    }

    /// The options that tell them to a gate.
    pub(super) fn options(&self) -> impl Iterator<Item = OsString> {
        let option = |name: &'static str| {
            move |path: &PathBuf| {
                let mut option = OsString::from(name);
                option.push(path);
                option
            }
        };
        let read = self.read.iter().map(option(READ));
        read.chain(self.write.iter().map(option(WRITE)))
    }
}

/// Before a path.
pub(super) const READ: &str = "--read=";
/// Before a path.
pub(super) const WRITE: &str = "--write=";

impl Ready {
    /// Puts them around this process for good.
    pub(super) fn close(self) -> io::Result<()> {
        // That nothing gains privileges was seen to before.
        let status = self.0.no_new_privs(false).restrict_self().map_err(refused)?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(Errno::OPNOTSUPP.into()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let place = PathFd::new(path).map_err(|error| number_of(&error))?;
    // What is no directory has nothing below it to be made or removed.
    let is_dir = File::from(place.as_fd().try_clone_to_owned()?).metadata()?.is_dir();
    let access = if is_dir { access } else { access & AccessFs::from_file(MOST) };
    rules.add_rule(PathBeneath::new(place, access)).map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: RulesetError) -> io::Error {
    number_of(&error)
}

/// The error of the system in it: it has to go through a socket as a number.
fn number_of(error: &(dyn Error + 'static)) -> io::Error {
    let mut next = Some(error);
    while let Some(error) = next {
        let system = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(number) = system {
            return io::Error::from_raw_os_error(number);
        }
        next = error.source();
    }
    Errno::OPNOTSUPP.into()
}

/// Why agents cannot be held to a sandbox by this kernel; none if they can.
#[must_use]
pub fn missing() -> Option<String> {
    let least = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .and_then(Ruleset::create);
    let error = least.err()?;
    Some(format!(
        "this kernel has no Landlock (Linux 6.2 or later, with `landlock` in its `lsm=` list): {error}"
    ))
}

/// Whether agents in a sandbox can be kept from signalling others as well.
#[must_use]
pub fn holds_signals() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::Signal)
        .and_then(Ruleset::create)
        .is_ok()
}
