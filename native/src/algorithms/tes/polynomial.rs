//! Polynomials over a group's scalars: sharing and interpolation.
