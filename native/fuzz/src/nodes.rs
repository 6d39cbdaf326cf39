//! The body of the fuzz target of RVH.

use city_chain_native::algorithms::rvh::{Kernel, Keys, NodeSet};
use city_chain_native::error::{Error, Result};

use super::Script;

/// RVH: nodes, weights, domains and masks of all kinds; every kernel and every way gives a prefix of one rank.
pub fn placement(data: &[u8]) {
    let mut script = Script(data);
    let (shape, count, n) = (script.byte(), usize::from(script.byte()), usize::from(script.byte()));
    let (domains, width) = (usize::from(script.byte()) + 1, usize::from(script.byte()) % 80 + 1);
    let ids: Vec<Vec<u8>> = (0..count).map(|at| [&[at as u8][..], &script.take::<1>()[..]].concat()).collect();
    let ids: Vec<&[u8]> = ids.iter().map(|id| &id[usize::from(shape == 255)..]).collect();
    let weights: Vec<u32> = (0..count)
        .map(|_| match shape % 4 {
            0 => 1 << 16,
            1 => u32::from(script.byte()),
            2 => 1 << (script.byte() % 32),
            _ => u32::from_le_bytes(script.take()),
        })
        .collect();
    let names: Vec<[u8; 1]> = (0..count).map(|at| [(at % domains) as u8]).collect();
    let names: Vec<&[u8]> = names.iter().map(<[u8; 1]>::as_slice).collect();
    let excluded: Vec<u32> = (0..script.byte() % 32).map(|_| u32::from(script.byte())).collect();
    let keys: Vec<u8> = script.0.iter().copied().chain([0; 80]).take(4 * width).collect();
    let keys = &keys[..keys.len() / width * width];
    let set = match NodeSet::from_fixed(&ids, Some(&weights), (shape & 4 > 0).then_some(&names)) {
        Ok(set) => set,
        Err(_) => return assert!(count == 0 || shape == 255, "these nodes are right"),
    };
    for kernel in Kernel::available() {
        let set = set.clone().with_kernel(kernel);
        let ranked: Result<Vec<Vec<u32>>> = keys.chunks(width).map(|key| set.rank(key, &excluded)).collect();
        let Ok(ranked) = ranked else {
            return assert!(excluded.iter().any(|at| *at as usize >= count), "these positions are there");
        };
        let rows = set.pick_many(Keys::Packed(keys, width), n, &excluded);
        match rows {
            Ok(rows) => assert_eq!(rows, ranked.iter().flat_map(|row| &row[..n]).copied().collect::<Vec<_>>()),
            Err(error) => assert!(matches!(error, Error::Unavailable { had, .. } if had == ranked[0].len() as u64)),
        }
        assert!(ranked[0].iter().all(|at| weights[*at as usize] > 0 && !excluded.contains(at)));
    }
    let n = n.min(set.rank(&[], &[]).map_or(0, |ranked| ranked.len()));
    assert_eq!(set.owner_changes(&set, Keys::Packed(keys, width), n), Ok(Vec::new()));
}
