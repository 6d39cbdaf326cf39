//! Quorum arithmetic, plain and weighted.
//!
//! With `n` parties of which at most `f = ⌊(n − 1)/3⌋` are faulty, `n − f` answers always can come and any two such sets
//! share a party that is not faulty. Stake counts like parties do.

use crate::error::{Error, Result};

/// How much of `total` (parties or stake) may be faulty: ⌊(total − 1)/3⌋.
pub fn faults(total: u128) -> Result<u128> {
    if total == 0 {
        return Err(Error::input("quorum: of nothing there is none"));
    }
    Ok((total - 1) / 3)
}

/// How much of `total` is a Byzantine quorum: total − ⌊(total − 1)/3⌋.
pub fn byzantine(total: u128) -> Result<u128> {
    Ok(total - faults(total)?)
}

/// How many acks make a dispersal into `n` fragments, any `k` of which restore, available: k + ⌊(n − k)/2⌋. So many
/// holders may be lost afterwards, or have lied, and `k` are left.
pub fn write(k: usize, n: usize) -> Result<usize> {
    if k == 0 || k > n {
        return Err(Error::input(format!("quorum: k = {k}, n = {n}: 1 ≤ k ≤ n is needed")));
    }
    Ok(k + (n - k) / 2)
}

/// The sum of stakes.
pub fn sum(stakes: impl IntoIterator<Item = u64>) -> Result<u128> {
    stakes
        .into_iter()
        .try_fold(0u128, |sum, stake| sum.checked_add(u128::from(stake)))
        .ok_or_else(|| Error::input("quorum: the stakes add up to more than 2^128 - 1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!([1, 4, 7, 10, 100].map(|n| faults(n).unwrap()), [0, 1, 2, 3, 33]);
        assert_eq!([1, 3, 4, 7].map(|n| byzantine(n).unwrap()), [1, 3, 3, 5]);
        assert_eq!(write(6, 10).unwrap(), 8);
        assert_eq!(write(1, 1).unwrap(), 1);
        assert!(faults(0).is_err() && write(0, 3).is_err() && write(4, 3).is_err());
        assert_eq!(sum([u64::MAX, u64::MAX]).unwrap(), 2 * u128::from(u64::MAX));
    }

    proptest! {
        #[test]
        fn two_quorums_share_more_than_the_faulty(total in 1u128..=u128::MAX / 2) {
            let (f, q) = (faults(total).unwrap(), byzantine(total).unwrap());
            prop_assert!(2 * q - total > f);
            prop_assert!(q <= total - f);
        }

        #[test]
        fn write_quorum_outlives_as_many_as_it_tolerates(k in 1usize..1000, more in 0usize..1000) {
            let quorum = write(k, k + more).unwrap();
            prop_assert!(quorum - (k + more - quorum).min(more / 2) >= k);
            prop_assert!(quorum >= k && quorum <= k + more);
        }
    }
}
