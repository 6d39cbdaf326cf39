//! The one error type of the crate; `python/error.rs` maps it onto `city_chain.errors`.
//!
//! Every message says what was wrong, the value that was seen and what would have been right.

use std::fmt;

/// What can go wrong, by whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The caller passed something that no call could accept (`InputError` in Python).
    Input(String),
    /// A signature, proof, hash or certificate is wrong (`VerificationError`).
    Verification(String),
    /// A remote party broke the protocol (`ProtocolError`).
    Protocol(String),
    /// Too few nodes, acks or fragments (`UnavailableError`).
    Unavailable {
        /// What was too few, in words.
        message: String,
        /// How many were needed.
        needed: u64,
        /// How many there were.
        had: u64,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// An [`Error::Verification`].
    pub fn verification(message: impl Into<String>) -> Self {
        Self::Verification(message.into())
    }

    /// An [`Error::Protocol`].
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol(message.into())
    }

    /// An [`Error::Unavailable`] whose message ends in the two numbers.
    pub fn unavailable(what: impl fmt::Display, needed: u64, had: u64) -> Self {
        Self::Unavailable { message: format!("{what}: needed {needed}, had {had}"), needed, had }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Verification(message) | Self::Protocol(message) => f.write_str(message),
            Self::Unavailable { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
