//! The error type of the crate.

/// Errors of calls into this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is outside the range allowed by the formula or by memory.
    #[error("{name} is {got}; expected {expected}")]
    Value {
        /// The argument.
        name: &'static str,
        /// The offending value.
        got: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A buffer has the wrong length.
    #[error("{name} has {got} elements; expected {expected}")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The expected length.
        expected: usize,
    },
    /// The caller requested to stop.
    #[error("stopped by the caller")]
    Stopped,
}

impl Error {
    /// An [`Error::Value`] with the offending value.
    pub(crate) fn value(name: &'static str, got: impl std::fmt::Display, expected: &'static str) -> Self {
        Self::Value { name, got: got.to_string(), expected }
    }
}

/// The result of a call into this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
