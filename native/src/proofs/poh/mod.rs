//! poh
