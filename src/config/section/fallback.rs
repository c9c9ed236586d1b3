//! What stands in for a key that the file does not have.

/// What holds where the file says nothing, and what is shown to somebody who wrote it wrong.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Fallback<T> {
    /// None: nothing holds.
    pub(in crate::config) default: Option<T>,
    /// An example of what to write.
    pub(in crate::config) example: T,
}

impl<T> Fallback<T> {
    /// Nothing holds where the file says nothing.
    pub(in crate::config) const fn nothing(example: T) -> Self {
        Self { default: None, example }
    }
}

/// The default is the best example.
impl<T: Clone> From<T> for Fallback<T> {
    fn from(default: T) -> Self {
        Self { default: Some(default.clone()), example: default }
    }
}
