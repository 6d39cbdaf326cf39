//! A sealed payload.
