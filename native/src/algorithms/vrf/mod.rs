//! vrf
