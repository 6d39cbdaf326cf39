//! rvh
