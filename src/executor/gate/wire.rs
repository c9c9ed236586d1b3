//! What runner, server and gate say to each other on their sockets.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// At most so many descriptors go with one message.
const FDS: usize = 2;

/// Ends each string; none can hold it.
const NUL: u8 = 0;

/// What a gate is to become, beside what its output goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executor) struct Word {
    /// The working directory.
    pub(in crate::executor) cwd: PathBuf,
    /// Options of the gate, `--`, and the command.
    pub(in crate::executor) args: Vec<OsString>,
    /// All of the environment.
    pub(in crate::executor) env: Vec<(OsString, OsString)>,
}

impl Word {
    /// Sends it, with what stdout and stderr are to be.
    pub(super) fn send(&self, socket: &UnixStream, output: BorrowedFd<'_>) -> io::Result<()> {
        let body = self.encode();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        send(socket, &length.to_ne_bytes(), &[output])?;
        let mut socket = socket;
        socket.write_all(&body)
    }

    /// Waits for it; an error if the other end closes first, be it in the middle.
    pub(super) fn receive(socket: &UnixStream) -> io::Result<(Self, OwnedFd)> {
        let mut length = [0; 4];
        let fds = receive(socket, &mut length)?;
        let output = fds.into_iter().next().ok_or_else(malformed)?;
        let length = u32::from_ne_bytes(length);
        let mut body = Vec::new();
        let read = socket.take(length.into()).read_to_end(&mut body)?;
        if u32::try_from(read) != Ok(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((Self::decode(&body).ok_or_else(malformed)?, output))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut put = |parts: &[&OsStr]| {
            for part in parts {
                body.extend_from_slice(part.as_bytes());
            }
            body.push(NUL);
        };
        put(&[self.cwd.as_os_str()]);
        put(&[self.args.len().to_string().as_ref()]);
        for arg in &self.args {
            put(&[arg]);
        }
        for (name, value) in &self.env {
            put(&[name, "=".as_ref(), value]);
        }
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut strings = body.strip_suffix(&[NUL])?.split(|byte| *byte == NUL);
        let mut next = || strings.next().map(|string| OsString::from_vec(string.to_vec()));
        let cwd = next()?.into();
        let args = next()?.to_str()?.parse().ok()?;
        let args = (0..args).map(|_: usize| next()).collect::<Option<_>>()?;
        let variable = |string: &[u8]| {
            let at = string.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (string.get(..at)?, string.get(at + 1..)?);
            Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        };
        let env = strings.map(variable).collect::<Option<_>>()?;
        Some(Self { cwd, args, env })
    }
}

/// Asks for the birth of a gate at the other end of `gate`, in `cgroup` if there is one.
pub(super) fn ask(
    server: &UnixStream,
    gate: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let fds: Vec<_> = [gate].into_iter().chain(cgroup).collect();
    send(server, b"?", &fds)
}

/// Waits until it is asked for: the socket of the gate, and its cgroup.
pub(super) fn asked(socket: &UnixStream) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let mut fds = receive(socket, &mut [0])?.into_iter();
    let gate = fds.next().ok_or_else(malformed)?;
    Ok((gate, fds.next()))
}

/// Says why there is no agent: the number of the error of its exec, or, negative, of what comes
/// before that.
pub(in crate::executor) fn refuse(mut socket: &UnixStream, number: i32) {
    // If that fails the runner is gone.
    let _ = socket.write_all(&number.to_ne_bytes());
}

/// Waits until the agent runs, which is 0, or what it was [refused](refuse) for.
pub(in crate::executor) fn refused(mut socket: &UnixStream) -> io::Result<i32> {
    let mut number = Vec::new();
    match (&mut socket).take(4).read_to_end(&mut number) {
        // It closes without a word when the agent is run.
        Ok(_) => Ok(<[u8; 4]>::try_from(number).map_or(0, i32::from_ne_bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(error) => Err(error),
    }
}

fn send(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(malformed());
    }
    let sent = retry_on_intr(|| {
        sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Fills `bytes`, and returns the descriptors that came with them.
fn receive(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(rest)];
        let received = retry_on_intr(|| {
            recvmsg(socket.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += received.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
    }
    Ok(fds)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_said() {
        let word = Word {
            cwd: "/a dir".into(),
            args: ["--", "sh", "", "-c", "7"].map(OsString::from).into(),
            env: [("A", "x=y"), ("B", "")].map(|(n, v)| (n.into(), v.into())).into(),
        };
        assert_eq!(Word::decode(&word.encode()), Some(word));
    }

    #[test]
    fn what_is_cut_off_is_no_word() {
        let word = Word { cwd: "/".into(), args: vec!["sh".into()], env: Vec::new() };
        let body = word.encode();
        for length in 0..body.len() {
            assert_eq!(Word::decode(&body[..length]), None, "{length}");
        }
    }
}
