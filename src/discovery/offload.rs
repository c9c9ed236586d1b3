//! Keeps long computations off the threads that others' I/O waits for.

use super::convert::Unusable;

/// From how many entities on work is long.
pub(super) const MANY_ENTITIES: usize = 10_000;

/// From how many bytes of messages on work is long: about as many entities.
pub(super) const MANY_BYTES: usize = 64 * 1024;

/// Does `work`, on a thread for that if it is long.
pub(super) async fn offload<T: Send + 'static>(
    long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unusable> {
    if long {
        tokio::task::spawn_blocking(work).await.map_err(|_| Unusable::Abandoned)
    } else {
        Ok(work())
    }
}
