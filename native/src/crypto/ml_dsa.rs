//! ML-DSA signatures (FIPS 204).
