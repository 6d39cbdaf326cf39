//! TNH: time. A hybrid logical clock ([`Hlc`]), the client of NTP ([`ntp`]), and which of several clocks to believe
//! ([`agreement`]).

pub mod agreement;
mod hlc;
pub mod ntp;

pub use hlc::{COUNTER_MAX, Hlc, MS_MAX, STAMP_LEN, counter, ms, pack};
