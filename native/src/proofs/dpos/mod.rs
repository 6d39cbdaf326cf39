//! dpos
