//! Who an agent runs as, what it may become, how many files it may open, and which: told to its gate as
//! options, and put in force by the gate itself, as anything else would take the start from
//! `posix_spawn` to `fork`.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, initgroups, setgid, setgroups, setuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::sandbox::{self, Ready, Walls};
use crate::account::{self, Account, AccountError};
use crate::plan::Confinement;

const AS: &str = "--as=";
const NO_NEW_PRIVS: &str = "--no-new-privs";
const NOFILE: &str = "--nofile=";
const SANDBOX: &str = "--sandbox";

/// Between the options and the agent's own command.
pub(in crate::executor) const END: &str = "--";

/// What a gate gives up before it becomes an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::executor) struct Privileges {
    /// Whom it becomes, if that is somebody else.
    account: Option<Account>,
    /// Whether no program that it runs may have more than it has (setuid, file capabilities).
    no_new_privs: bool,
    /// How many files each of its processes may open.
    nofile: Option<u64>,
    /// The files that it may use, if those are not all.
    walls: Option<Walls>,
}

impl Privileges {
    /// What `confinement` leaves to an agent.
    pub(in crate::executor) fn of(confinement: &Confinement) -> Result<Self, AccountError> {
        let (user, group) = (confinement.user.as_deref(), confinement.group.as_deref());
        let account = match (user, group) {
            (None, None) => None,
            named => account::find(named.0, named.1)?,
        };
        Ok(Self {
            account,
            no_new_privs: confinement.no_new_privs,
            nofile: confinement.limits.nofile,
            // Where the kernel cannot, the file says that agents run all the same, or was refused.
            walls: confinement
                .sandbox
                .as_ref()
                .filter(|_| sandbox::missing().is_none())
                .map(Into::into),
        })
    }

    /// The options that tell it to a gate.
    pub(in crate::executor) fn options(&self) -> Vec<OsString> {
        let account = self.account.as_ref().map(|Account { uid, gid, name }| {
            let mut option = OsString::from(format!("{AS}{uid}:{gid}:"));
            option.push(OsStr::from_bytes(name.as_ref().map_or(b"", |name| name.as_bytes())));
            option
        });
        let no_new_privs = self.no_new_privs.then(|| NO_NEW_PRIVS.into());
        let nofile = self.nofile.map(|files| format!("{NOFILE}{files}").into());
        let own = account.into_iter().chain(no_new_privs).chain(nofile);
        let sandbox = self.walls.iter().map(|_| SANDBOX.into());
        let walls = sandbox.chain(self.walls.iter().flat_map(Walls::options));
        own.chain(walls).chain([END.into()]).collect()
    }

    /// What the options say, and the command after them; none if they are not ours.
    pub(super) fn parse(args: &[OsString]) -> Option<(Self, &[OsString])> {
        let mut privileges = Self::default();
        let mut rest = args;
        while let Some((option, after)) = rest.split_first() {
            rest = after;
            if option == END {
                return Some((privileges, rest));
            } else if option == NO_NEW_PRIVS {
                privileges.no_new_privs = true;
            } else if option == SANDBOX {
                privileges.walls = Some(Walls::default());
            } else if let Some(path) = path_of(option, sandbox::READ) {
                privileges.walls.as_mut()?.read.push(path);
            } else if let Some(path) = path_of(option, sandbox::WRITE) {
                privileges.walls.as_mut()?.write.push(path);
            } else if let Some(files) = option.as_bytes().strip_prefix(NOFILE.as_bytes()) {
                privileges.nofile = Some(std::str::from_utf8(files).ok()?.parse().ok()?);
            } else {
                let account = option.as_bytes().strip_prefix(AS.as_bytes())?;
                privileges.account = Some(parse_account(account)?);
            }
        }
        None
    }

    /// Gives up what this process is to have no more. The order is the only one in which each
    /// step still may be taken.
    pub(super) fn drop_others(&self) -> io::Result<()> {
        // Looked up by whoever may look: the agent's own user may not be let to all of it, and then
        // still is not.
        let walls = self.walls.as_ref().map(Walls::build).transpose()?;
        if let Some(files) = self.nofile {
            let (current, maximum) = (Some(files), Some(files));
            setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
        }
        if let Some(Account { uid, gid, name }) = &self.account {
            match name {
                Some(name) => initgroups(name, *gid)?,
                None => setgroups(&[*gid])?,
            }
            setgid(*gid)?;
            setuid(*uid)?;
        }
        if self.no_new_privs {
            set_no_new_privs()?;
        }
        walls.map_or(Ok(()), Ready::close)
    }
}

/// The most files that an agent may be allowed to open: only root may raise the limit of its own,
/// and that to what the kernel can count.
pub(in crate::executor) fn most_files() -> u64 {
    let own = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    if !Uid::effective().is_root() {
        return own;
    }
    let all = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    all.and_then(|all| all.trim().parse().ok()).unwrap_or(own)
}

fn path_of(option: &OsStr, name: &str) -> Option<PathBuf> {
    let path = option.as_bytes().strip_prefix(name.as_bytes())?;
    Some(OsStr::from_bytes(path).into())
}

fn parse_account(text: &[u8]) -> Option<Account> {
    let mut parts = text.splitn(3, |byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    let (uid, gid) = (Uid::from_raw(number()?), Gid::from_raw(number()?));
    let name = parts.next()?;
    let name = (!name.is_empty()).then(|| CString::new(name).ok()).flatten();
    Some(Account { uid, gid, name })
}

#[cfg(test)]
mod tests;
