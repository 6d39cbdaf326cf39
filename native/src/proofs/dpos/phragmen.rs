//! Phragmén's sequential rule, weighted by stake, in exact rationals.
//!
//! Every seat is one unit of load, borne by those who approve of who gets it. Whoever can be elected with the least
//! greatest load is: σ(c) = (1 + Σ stake · load) / Σ stake over those who approve of c, whose load then is σ(c). (Phragmén
//! 1894; Janson, "Phragmén's and Thiele's election methods", 2016, section 3; Brill et al., "Phragmén's voting methods and
//! justified representation", 2017.) A group with a share ℓ/k of the stake that agrees on ℓ candidates gets its share of
//! the k seats, which approval voting does not promise.
//!
//! Loads are kept as numerators over one common denominator, the product of the stakes Σ of all rounds so far: whole
//! numbers of any size. Floats with a bound on their error only say whom not to compare exactly.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A whole number of any size, limbs of 64 bits, least significant first, the last not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole(Vec<u64>);

impl Whole {
    fn one() -> Self {
        Self(vec![1])
    }

    /// self + other · by.
    fn add_product(&mut self, other: &Self, by: u128) {
        for (shift, by) in [(0, by as u64), (1, (by >> 64) as u64)] {
            if by == 0 {
                continue;
            }
            let needed = other.0.len() + shift;
            if self.0.len() < needed {
                self.0.resize(needed, 0);
            }
            let mut carry = 0u128;
            for (limb, factor) in self.0[shift..].iter_mut().zip(other.0.iter().copied().chain(std::iter::repeat(0))) {
                let sum = u128::from(factor) * u128::from(by) + u128::from(*limb) + carry;
                *limb = sum as u64;
                carry = sum >> 64;
            }
            if carry > 0 {
                self.0.push(carry as u64);
            }
        }
    }

    /// self · by, which is not 0.
    fn times(&self, by: u128) -> Self {
        let mut product = Self(Vec::with_capacity(self.0.len() + 2));
        product.add_product(self, by);
        product
    }

    /// A float and the power of 2⁶⁴ it is to be multiplied by; within a relative error of 2⁻⁵².
    fn float(&self) -> (f64, i32) {
        let top = self.0.len() - 1;
        let below = if top > 0 { self.0[top - 1] } else { 0 };
        let value = self.0[top] as f64 + below as f64 / 2f64.powi(64);
        (value, i32::try_from(top).unwrap_or(i32::MAX))
    }
}

impl Ord for Whole {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Whole {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The loads that the rounds so far have set.
struct Loads {
    /// Numerators, one a round.
    numerators: Vec<Whole>,
    /// The denominator of all.
    denominator: Whole,
    /// The same as floats, within a relative error of 2⁻⁵⁰.
    floats: Vec<f64>,
}

/// What decides a candidate's σ: its stake Σ, and how much of it bears the load of which round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Backing {
    stake: u128,
    loaded: Vec<(u32, u128)>,
}

impl Loads {
    /// The numerator of σ, over denominator · stake.
    fn numerator(&self, backing: &Backing) -> Whole {
        let mut sum = self.denominator.clone();
        for (round, stake) in &backing.loaded {
            sum.add_product(&self.numerators[*round as usize], *stake);
        }
        sum
    }

    /// σ as a float, within a relative error of [`Loads::tolerance`].
    fn float(&self, backing: &Backing) -> f64 {
        let loaded: f64 =
            backing.loaded.iter().map(|(round, stake)| *stake as f64 * self.floats[*round as usize]).sum();
        (1.0 + loaded) / backing.stake as f64
    }

    fn tolerance(&self) -> f64 {
        (self.floats.len() as f64 + 16.0) * f64::EPSILON
    }

    /// Adds the round that elected a candidate with this backing.
    fn add(&mut self, backing: &Backing) {
        let numerator = self.numerator(backing);
        for other in &mut self.numerators {
            *other = other.times(backing.stake);
        }
        self.denominator = self.denominator.times(backing.stake);
        let ((above, above_at), (below, below_at)) = (numerator.float(), self.denominator.float());
        self.floats.push(above / below * 2f64.powi((above_at - below_at) * 64));
        self.numerators.push(numerator);
    }
}

/// An election: voters and candidates by number.
pub(super) struct Phragmen<'a> {
    /// The voters' stakes.
    pub(super) stakes: &'a [u64],
    /// Whom each voter approves of, without doubles.
    pub(super) approvals: &'a [Vec<u32>],
    /// Who approves of each candidate, without doubles; nobody has none.
    pub(super) backers: &'a [Vec<u32>],
}

impl Phragmen<'_> {
    /// Elects `seats` candidates, or all if there are fewer; of equals the one that `better` puts first.
    pub(super) fn elect(&self, seats: usize, better: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
        let mut loads = Loads { numerators: Vec::new(), denominator: Whole::one(), floats: Vec::new() };
        // The round that set a voter's load; none has before the first.
        let mut bears: Vec<Option<u32>> = vec![None; self.stakes.len()];
        let mut sums = Vec::new();
        let mut waiting: Vec<u32> = (0..self.backers.len() as u32).collect();
        let mut scores: Vec<f64> =
            (0..self.backers.len()).map(|at| loads.float(&self.backing(at, &bears, &mut sums))).collect();
        let mut elected = Vec::new();
        while elected.len() < seats {
            let least = waiting.iter().map(|at| scores[*at as usize]).fold(f64::INFINITY, f64::min);
            let most = least * (1.0 + 4.0 * loads.tolerance());
            // Candidates with one backing are equals; exact numbers decide between backings.
            let mut near: BTreeMap<Backing, u32> = BTreeMap::new();
            for at in waiting.iter().copied().filter(|at| scores[*at as usize] <= most) {
                let first = near.entry(self.backing(at as usize, &bears, &mut sums)).or_insert(at);
                if better(at, *first) == Ordering::Less {
                    *first = at;
                }
            }
            let several = near.len() > 1;
            let exact = |(backing, at): (Backing, u32)| (several.then(|| loads.numerator(&backing)), backing, at);
            let Some((_, backing, winner)) = near.into_iter().map(exact).min_by(|a, b| {
                let sigma = match (&a.0, &b.0) {
                    (Some(first), Some(second)) => first.times(b.1.stake).cmp(&second.times(a.1.stake)),
                    _ => Ordering::Equal,
                };
                sigma.then_with(|| better(a.2, b.2))
            }) else {
                break;
            };
            let round = elected.len() as u32;
            loads.add(&backing);
            sums.resize(elected.len() + 1, 0);
            elected.push(winner);
            waiting.retain(|at| *at != winner);
            let mut stale = vec![false; self.backers.len()];
            for voter in &self.backers[winner as usize] {
                bears[*voter as usize] = Some(round);
                for candidate in &self.approvals[*voter as usize] {
                    stale[*candidate as usize] = true;
                }
            }
            for at in waiting.iter().filter(|at| stale[**at as usize]) {
                scores[*at as usize] = loads.float(&self.backing(*at as usize, &bears, &mut sums));
            }
        }
        elected
    }

    /// The backing of a candidate. `sums` has room for each round, and is left as it came: all 0.
    fn backing(&self, candidate: usize, bears: &[Option<u32>], sums: &mut [u128]) -> Backing {
        let mut stake = 0u128;
        let mut rounds = Vec::new();
        for voter in &self.backers[candidate] {
            let voted = u128::from(self.stakes[*voter as usize]);
            stake += voted;
            if let Some(round) = bears[*voter as usize] {
                if sums[round as usize] == 0 {
                    rounds.push(round);
                }
                sums[round as usize] += voted;
            }
        }
        rounds.sort_unstable();
        let loaded = rounds.into_iter().map(|round| (round, std::mem::take(&mut sums[round as usize]))).collect();
        Backing { stake, loaded }
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;

    fn big(whole: &Whole) -> BigUint {
        whole.0.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << 64u32) + *limb)
    }

    proptest! {
        #[test]
        fn whole_numbers_are_those_of_arithmetic(factors in proptest::collection::vec(1u128.., 0..9), by in 0u128.., other in 1u128..) {
            let whole = factors.iter().fold(Whole::one(), |product, factor| product.times(*factor));
            let expected = factors.iter().fold(BigUint::from(1u8), |product, factor| product * *factor);
            prop_assert_eq!(big(&whole), expected.clone());
            let mut sum = Whole::one().times(other);
            sum.add_product(&whole, by);
            prop_assert_eq!(big(&sum), expected * by + other);
            prop_assert!(sum.0.last() != Some(&0));
            prop_assert_eq!(sum.cmp(&whole), big(&sum).cmp(&big(&whole)));
            let (value, power) = whole.float();
            let shift = u32::try_from(power).unwrap() * 64;
            let rough = BigUint::from(value as u128) << shift;
            let (low, high) = (rough.clone().min(big(&whole)), rough.max(big(&whole)));
            prop_assert!((high - low) <= (big(&whole) >> 51u32) + (BigUint::from(1u8) << shift));
        }
    }

    /// Phragmén's own example of 1894, in Janson's survey (section 3): A, Q and B are elected, in this order.
    #[test]
    fn phragmens_own_example() {
        let (a, b, c, p, q, r) = (0, 1, 2, 3, 4, 5);
        let stakes = [1034, 519, 90, 47];
        let approvals = [vec![a, b, c], vec![p, q, r], vec![a, b, q], vec![a, p, q]];
        let backers: Vec<Vec<u32>> =
            (0..6).map(|at| (0..4).filter(|voter| approvals[*voter as usize].contains(&at)).collect()).collect();
        let election = Phragmen { stakes: &stakes, approvals: &approvals, backers: &backers };
        assert_eq!(election.elect(3, |x, y| x.cmp(&y)), [a, q, b]);
        assert_eq!(election.elect(9, |x, y| x.cmp(&y)).len(), 6);
    }

    /// Two candidates with one σ of different makings, 1/S and (1 + A/S₀)/S₂, are equals whatever a float says.
    #[test]
    fn equals_that_a_float_takes_for_unequal_go_by_the_tie_rule() {
        let mut fooled = [0; 2];
        for first in 3..80u64 {
            for shared in 1..first {
                for second in shared + 1..first {
                    if second * first % (first + shared) != 0 {
                        continue;
                    }
                    let third = second * first / (first + shared);
                    // Voters: for 0 and 1, for 0, for 1, for 2.
                    let stakes = [shared, first - shared, second - shared, third];
                    let approvals = [vec![0, 1], vec![0], vec![1], vec![2]];
                    let backers = [vec![0, 1], vec![0, 2], vec![3]];
                    let election = Phragmen { stakes: &stakes, approvals: &approvals, backers: &backers };
                    assert_eq!(election.elect(2, |a, b| a.cmp(&b)), [0, 1], "{stakes:?}");
                    assert_eq!(election.elect(2, |a, b| b.cmp(&a)), [0, 2], "{stakes:?}");
                    let float = (1.0 + shared as f64 * (1.0 / first as f64)) / second as f64;
                    match float.total_cmp(&(1.0 / third as f64)) {
                        Ordering::Less => fooled[0] += 1,
                        Ordering::Greater => fooled[1] += 1,
                        Ordering::Equal => {}
                    }
                }
            }
        }
        assert!(fooled[0] + fooled[1] > 10, "{fooled:?}");
    }

    /// σ of two candidates that no float tells apart: 2⁻⁶⁴ off, and equal.
    #[test]
    fn exact_numbers_decide_what_floats_cannot() {
        let most = u64::MAX;
        for (first, second, winner) in [(most, most - 1, 0), (most - 1, most, 1), (most, most, 1)] {
            let stakes = [first, second];
            let single = [vec![0], vec![1]];
            let election = Phragmen { stakes: &stakes, approvals: &single, backers: &single };
            assert_eq!(election.elect(1, |x, y| y.cmp(&x)), [winner]);
        }
    }
}
