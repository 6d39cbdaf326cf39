//! Everything that is hashed, signed, sent or stored: one versioned encoding each.
