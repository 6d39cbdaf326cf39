//! ristretto255 as a group.
