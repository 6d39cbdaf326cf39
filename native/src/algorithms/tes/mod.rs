//! TES: threshold encryption, threshold signatures and the common coin.
//!
//! A key that no single party has: n parties have a share each, any t of them do together what the key would.
//!
//! - [`dkg`]: makes such a key without a dealer (Feldman joint DKG) and hands it on to other parties (resharing).
//! - [`bls`]: signatures on BLS12-381 ([`bls12381`]).
//! - [`tdh2`]: encryption on ristretto255 ([`ristretto`]).
//! - [`coin`]: a bit that nobody knows before enough parties show their shares.
//!
//! [`dleq`] is what [`tdh2`] and [`coin`] share: shares that prove themselves. `subsets` says which shares to try when the
//! first do not fit. [`share`] has the keys and their encodings, [`polynomial`] sharing and interpolation; the
//! [`group::Group`] trait is what both need of a group.

pub mod bls;
pub mod bls12381;
pub mod coin;
pub mod dkg;
pub mod dleq;
pub mod group;
pub mod polynomial;
pub mod ristretto;
pub mod share;
mod subsets;
pub mod tdh2;
