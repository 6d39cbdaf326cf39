//! TNH: time. Here its hybrid logical clock ([`Hlc`]); NTP and PTP join it later.

mod hlc;

pub use hlc::{COUNTER_MAX, Hlc, MS_MAX, STAMP_LEN, counter, ms, pack};
