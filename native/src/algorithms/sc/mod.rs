//! Sharding coordination.
