//! Which shares to try when the first ones do not fit together, before any is checked for itself.
//!
//! Of `count` shares `threshold` are needed. The first `threshold` are cut into groups of at most `count − threshold`; each
//! try leaves one group out and takes as many of the others in its place. A wrong share is in one group only, so that one
//! of the tries is without it. A try costs an interpolation, and a check of a share several times what its part in one
//! does: so a single wrong share costs less to leave out than to find.

/// Groups at most: beyond, with few shares to spare, tries would cost more than finding the wrong shares.
pub const TRIES_MAX: usize = 4;

/// For each try the places of the `threshold` shares to take, in order; none if there are too few to spare.
pub fn others(threshold: usize, count: usize) -> impl Iterator<Item = Vec<usize>> {
    let spare = count.saturating_sub(threshold);
    let groups = if spare == 0 { usize::MAX } else { threshold.div_ceil(spare) };
    let groups = if groups <= TRIES_MAX { groups } else { 0 };
    (0..groups).map(move |group| {
        let (from, to) = (group * threshold / groups, (group + 1) * threshold / groups);
        (0..from).chain(to..threshold + (to - from)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_left_out_of_one_try() {
        for count in 0..130 {
            for threshold in 1..130 {
                let tries: Vec<Vec<usize>> = others(threshold, count).collect();
                let spare = count.saturating_sub(threshold);
                assert_eq!(tries.is_empty(), spare * TRIES_MAX < threshold, "{threshold} of {count}");
                assert!(tries.len() <= TRIES_MAX, "{threshold} of {count}");
                for taken in &tries {
                    assert_eq!(taken.len(), threshold);
                    assert!(taken.windows(2).all(|pair| pair[0] < pair[1]) && taken[threshold - 1] < count);
                }
                for place in 0..threshold * usize::from(!tries.is_empty()) {
                    let without = tries.iter().filter(|taken| !taken.contains(&place)).count();
                    assert_eq!(without, 1, "place {place}, {threshold} of {count}");
                }
            }
        }
        assert_eq!(others(3, 4).collect::<Vec<_>>(), [[1, 2, 3], [0, 2, 3], [0, 1, 3]]);
        assert_eq!(others(67, 100).count(), 3);
    }
}
