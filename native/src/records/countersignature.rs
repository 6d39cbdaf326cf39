//! ML-DSA countersignatures.
