//! Who an agent runs as and what it may become: told to its gate as options, and put in force by
//! the gate itself, as anything else would take the start from `posix_spawn` to `fork`.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, initgroups, setgid, setgroups, setuid};

use crate::account::{self, Account, AccountError};
use crate::plan::Confinement;

const AS: &str = "--as=";
const NO_NEW_PRIVS: &str = "--no-new-privs";

/// Between the options and the agent's own command.
pub(in crate::executor) const END: &str = "--";

/// What a gate gives up before it becomes an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::executor) struct Privileges {
    /// Whom it becomes, if that is somebody else.
    account: Option<Account>,
    /// Whether no program that it runs may have more than it has (setuid, file capabilities).
    no_new_privs: bool,
}

impl Privileges {
    /// What `confinement` leaves to an agent.
    pub(in crate::executor) fn of(confinement: &Confinement) -> Result<Self, AccountError> {
        let (user, group) = (confinement.user.as_deref(), confinement.group.as_deref());
        let account = match (user, group) {
            (None, None) => None,
            named => account::find(named.0, named.1)?,
        };
        Ok(Self { account, no_new_privs: confinement.no_new_privs })
    }

    /// The options that tell it to a gate.
    pub(in crate::executor) fn options(&self) -> Vec<OsString> {
        let account = self.account.as_ref().map(|Account { uid, gid, name }| {
            let mut option = OsString::from(format!("{AS}{uid}:{gid}:"));
            option.push(OsStr::from_bytes(name.as_ref().map_or(b"", |name| name.as_bytes())));
            option
        });
        let no_new_privs = self.no_new_privs.then(|| NO_NEW_PRIVS.into());
        account.into_iter().chain(no_new_privs).chain([END.into()]).collect()
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
        Ok(())
    }
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
