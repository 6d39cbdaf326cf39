use curve25519_dalek::constants::EIGHT_TORSION;

use super::super::SecretKey;
use super::*;

/// Good proofs of several keys, settled up to their equations.
fn settled(count: usize) -> Vec<Settled> {
    let keys: Vec<SecretKey> = (0..3).map(|at| SecretKey::from_seed(&[at; 32])).collect();
    (0..count)
        .flat_map(|at| {
            let (key, alpha) = (&keys[at % 3], [at as u8]);
            let (public, proof) = (key.public(), key.prove_batchable(Suite::Ell2, &alpha).unwrap());
            let item = Item { public: &public, alpha: &alpha, proof: Proof::Batchable(&proof) };
            settle_chunk(Suite::Ell2, &[item], &[0], &[decode_public(&public)])
        })
        .collect()
}

fn open(settled: &[Settled]) -> Vec<Open<'_>> {
    let equations = settled.iter().filter_map(|settled| match settled {
        Settled::Open(equations, _) => Some(&**equations),
        Settled::Verdict(_) => None,
    });
    equations
        .enumerate()
        .map(|(at, equations)| {
            let z = [3, 5].map(|factor| Scalar::from(factor * (at as u64 + 11)));
            Open { at, key: at % 3, equations, z }
        })
        .collect()
}

/// Were it not so, all verdicts would be right and slow: every proof would be checked alone.
#[test]
fn a_combination_of_good_proofs_holds_and_one_bad_breaks_it() {
    let mut settled = settled(12);
    assert_eq!(open(&settled).len(), 12);
    for few in [1, 2, 3, 12] {
        assert!(combination_holds(&open(&settled)[..few]));
    }
    let Settled::Open(equations, _) = &mut settled[7] else { panic!("it was open") };
    equations.v += ED25519_BASEPOINT_POINT;
    let open = open(&settled);
    assert!(combination_holds(&open[..7]) && combination_holds(&open[8..]));
    assert!(!combination_holds(&open));
    assert!(!combination_holds(&open[6..8]));
    assert_eq!(bad_ones(&open), [7]);
    let mut settled = self::settled(7);
    for (at, one) in settled.iter_mut().enumerate() {
        let Settled::Open(equations, _) = one else { panic!("it was open") };
        equations.u += EIGHT_TORSION[at];
    }
    assert!(combination_holds(&self::open(&settled)));
}

/// The budget is never overspent, whatever is bad, and one bad proof leaves enough of it.
#[test]
fn bisection_stays_within_its_budget() {
    for wrong in [&[0][..], &[63], &[31], &[5, 6], &[0, 20, 40, 60]] {
        let mut settled = settled(64);
        for at in wrong {
            let Settled::Open(equations, _) = &mut settled[*at] else { panic!("it was open") };
            equations.u += ED25519_BASEPOINT_POINT;
        }
        let (mut bad, mut budget) = (Vec::new(), 3 * 64);
        bisect(&open(&settled), false, &mut budget, &mut bad);
        assert_eq!(bad, wrong);
        assert!(budget <= 2 * 64);
        assert!(wrong.len() > 1 || budget > 0, "{budget}");
        // 64, then the left halves: that the right one is bad is known without a combination.
        assert!(wrong != [63] || budget == 3 * 64 - (64 + 32 + 16 + 8 + 4), "{budget}");
    }
}
