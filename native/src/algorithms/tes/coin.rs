//! The common coin.
