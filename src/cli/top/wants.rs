//! What the screen needs at the moment: nothing else is fetched.

use std::path::PathBuf;

use tokio::sync::watch;

/// Whose log, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogOf {
    pub(super) dir: PathBuf,
    pub(super) name: String,
}

/// What the screen needs at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) events: bool,
    pub(super) log: Option<LogOf>,
    /// Whose processes are measured.
    pub(super) measured: Measured,
}

/// Whose processes are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// Those on the screen.
    Of(Vec<String>),
    /// All, as the order depends on it.
    All,
}

impl Default for Measured {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

/// Waits until something is wanted that is so; none: nobody wants anything any more.
pub(super) async fn until(
    wants: &mut watch::Receiver<Wants>,
    is_so: impl FnMut(&Wants) -> bool,
) -> Option<Wants> {
    wants.wait_for(is_so).await.ok().map(|wants| wants.clone())
}
