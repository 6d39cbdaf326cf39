//! Key encapsulation: X-Wing, and sntrup761 with X25519.
