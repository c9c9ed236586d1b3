//! The name of a world: `embedded` or `HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::near::nearest;

/// Which world to serve, as the file and the command line name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// The demo world inside the runner.
    Embedded,
    /// A server at `HOST:PORT`.
    Address(String),
}

/// Why a text names no world, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; write `{write}`")]
pub struct BadServer {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub write: String,
}

const EMBEDDED: &str = "embedded";

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str(EMBEDDED),
            Self::Address(address) => f.write_str(address),
        }
    }
}

impl FromStr for ServerName {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        if text == EMBEDDED {
            return Ok(Self::Embedded);
        }
        let wrong = |message: &str, write: String| BadServer { message: message.to_owned(), write };
        if let Some((_, rest)) = text.split_once("://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let write = with_port(authority);
            return Err(wrong("a server is named without `http://` or any path", write));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            let write = format!("[{address}]:{DEFAULT_PORT}");
            return Err(wrong("an IPv6 address goes in brackets, and needs a port", write));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.ends_with(':'))
        else {
            return Err(match nearest(text, [EMBEDDED]) {
                Some(near) => wrong("a server is `embedded` or `HOST:PORT`", near.to_owned()),
                None => wrong("the port is missing", with_port(text)),
            });
        };
        if let Some(message) = bad_host(host) {
            let write = if host.parse::<Ipv6Addr>().is_ok() {
                format!("[{host}]:{port}")
            } else {
                format!("localhost:{DEFAULT_PORT}")
            };
            return Err(wrong(message, write));
        }
        // Rust would take `+80` for a number as well.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || port.parse::<u16>().unwrap_or(0) == 0 {
            let write = format!("{host}:{DEFAULT_PORT}");
            return Err(wrong("the port must be a number from 1 to 65535", write));
        }
        Ok(Self::Address(text.to_owned()))
    }
}

impl ServerName {
    /// Whether nothing that is said to it leaves this machine.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let Self::Address(address) = self else { return true };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => bare.eq_ignore_ascii_case("localhost"),
        }
    }
}

const DEFAULT_PORT: u16 = 50051;

/// The text with a port, and a host that can be one.
fn with_port(text: &str) -> String {
    let host = text.strip_suffix(':').unwrap_or(text);
    match host.rsplit_once(':') {
        Some((name, _)) if bad_host(name).is_none() => host.to_owned(),
        _ if bad_host(host).is_none() => format!("{host}:{DEFAULT_PORT}"),
        _ => format!("localhost:{DEFAULT_PORT}"),
    }
}

/// What is wrong with a host, if anything is.
fn bad_host(host: &str) -> Option<&'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_err().then_some("not an IPv6 address in the brackets");
    }
    if host.is_empty() {
        return Some("the host is missing");
    }
    if host.contains(':') {
        return Some("a host holds no colon, except an IPv6 address in brackets");
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Some("not an IPv4 address");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!host.chars().all(allowed)).then_some("a host is made of letters, digits, dashes and dots")
}
