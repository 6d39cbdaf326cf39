//! A city's public keys.
