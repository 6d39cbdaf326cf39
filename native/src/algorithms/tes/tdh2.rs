//! Threshold encryption: TDH2 on ristretto255.
