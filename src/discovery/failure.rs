//! Why a call failed, in words that a person understands.

use std::error::Error;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use super::convert::Unusable;
use crate::credentials::CredentialError;
use crate::text::printable;

/// Why there is no answer, or none that could be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server's address is none.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// Nothing came in time.
    #[error("deadline of {} ms exceeded", .0.as_millis())]
    Deadline(Duration),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// The server answered with an error.
    #[error("the world answered {code:?}: {message}")]
    Status {
        /// What kind of error.
        code: Code,
        /// What the server says about it, printable.
        message: String,
    },
    /// The server answered a question with no message, or with more than one.
    #[error("the world answered with no message, or with several")]
    NotOne,
    /// The server answered, and not as the contract says.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// What the world is to be shown cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

impl Failure {
    /// What the status of a call that had this much time means.
    pub(super) fn of_call(status: &Status, timeout: Duration) -> Self {
        // The transport's own timer, which is set from the same deadline, reports itself as its
        // cause.
        let expired = status.code() == Code::DeadlineExceeded
            || caused_by::<tonic::TimeoutExpired>(status).is_some();
        if expired { Self::Deadline(timeout) } else { Self::of_stream(status) }
    }

    /// What a status means that comes without regard to a deadline.
    pub(super) fn of_stream(status: &Status) -> Self {
        match status.source() {
            Some(source) => Self::of_transport(source),
            None => Self::Status { code: status.code(), message: printable(status.message()) },
        }
    }

    /// What an error of the connection means.
    pub(super) fn of_transport(error: &(dyn Error + 'static)) -> Self {
        let text = match caused_by::<io::Error>(error) {
            Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
            Some(io) => io.to_string(),
            None => chain(error).last().unwrap_or(error).to_string(),
        };
        Self::Connection(printable(&text))
    }

    /// Whether the server does not know the method.
    pub(super) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Status { code: Code::Unimplemented, .. })
    }
}

/// An error and what caused it, the root last.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The innermost cause of this type.
fn caused_by<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).filter_map(|cause| cause.downcast_ref()).last()
}

#[cfg(test)]
mod tests;
