//! Distributed key generation and resharing.
