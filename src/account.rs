//! Users and groups of this machine. The one place where they are looked up.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its user.
    pub uid: Uid,
    /// Its first group.
    pub gid: Gid,
    /// The user's name, by which its other groups are found; without it, it has none.
    pub name: Option<CString>,
}

/// Why nothing can run as somebody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No user has this name.
    #[error("there is no user {0:?} on this machine")]
    NoUser(String),
    /// No group has this name.
    #[error("there is no group {0:?} on this machine")]
    NoGroup(String),
    /// The number belongs to no user, so nothing tells its group.
    #[error("user {0} has no name, and so no group, on this machine: a `group` is needed too")]
    NoPrimaryGroup(Uid),
    /// The runner is not root.
    #[error("only root may run agents as somebody else")]
    NotPermitted,
    /// The system could not be asked.
    #[error("users and groups cannot be looked up: {0}")]
    Lookup(#[from] Errno),
}

/// The account that these names or numbers name; none if it is the one that this process has
/// already. A user without a group has the user's own groups.
///
/// # Errors
/// If there is none such, or this process may not become it.
pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Account>, AccountError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let entry = user.map(find_user).transpose()?;
    let gid = match (group, &entry) {
        (Some(group), _) => find_group(group)?,
        (None, Some((_, Some(user)))) => user.gid,
        (None, Some((uid, None))) => return Err(AccountError::NoPrimaryGroup(*uid)),
        (None, None) => getegid(),
    };
    let uid = entry.as_ref().map_or_else(geteuid, |(uid, _)| *uid);
    if (uid, gid) == (geteuid(), getegid()) {
        return Ok(None);
    }
    if !geteuid().is_root() {
        return Err(AccountError::NotPermitted);
    }
    let name = entry.and_then(|(_, user)| CString::new(user?.name).ok());
    Ok(Some(Account { uid, gid, name }))
}

fn find_user(user: &str) -> Result<(Uid, Option<User>), AccountError> {
    if let Ok(number) = user.parse() {
        let uid = Uid::from_raw(number);
        return Ok((uid, User::from_uid(uid)?));
    }
    let entry = User::from_name(user)?.ok_or_else(|| AccountError::NoUser(user.to_owned()))?;
    Ok((entry.uid, Some(entry)))
}

fn find_group(group: &str) -> Result<Gid, AccountError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let entry = Group::from_name(group)?;
    entry.map(|entry| entry.gid).ok_or_else(|| AccountError::NoGroup(group.to_owned()))
}

/// Whether a group is nobody's but this user's: root's own, or the one that is the user's first,
/// has the user's name, and no other members, as most systems make it for each user.
#[must_use]
pub fn is_group_of(uid: u32, gid: u32) -> bool {
    if gid == 0 {
        return true;
    }
    let (Ok(Some(user)), Ok(Some(group))) =
        (User::from_uid(Uid::from_raw(uid)), Group::from_gid(Gid::from_raw(gid)))
    else {
        return false;
    };
    let alone = group.mem.iter().all(|member| *member == user.name);
    user.gid == group.gid && user.name == group.name && alone
}
