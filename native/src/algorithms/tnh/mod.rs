//! tnh
