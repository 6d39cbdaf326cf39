//! cbf
