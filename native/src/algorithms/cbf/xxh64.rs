//! XXH64 (Yann Collet's xxHash, 64 bits), the hash that Parquet's filter names: of one key, and of many packed ones.
//!
//! It is written out here so that it is inlined into the filters' loops, where the call and the streaming state of a
//! general implementation would cost more than the hash. Tests hold it against `twox-hash` for every length.

pub(super) const P1: u64 = 0x9e37_79b1_85eb_ca87;
pub(super) const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
pub(super) const P3: u64 = 0x1656_67b1_9e37_79f9;
pub(super) const P4: u64 = 0x85eb_ca77_c2b2_ae63;
pub(super) const P5: u64 = 0x27d4_eb2f_1656_67c5;

/// Bytes of a stripe: one round of the four lanes.
pub(super) const STRIPE: usize = 32;

/// What the four lanes start with.
#[inline(always)]
pub(super) fn lanes(seed: u64) -> [u64; 4] {
    [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)]
}

#[inline(always)]
fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[inline(always)]
fn merge(lanes: [u64; 4]) -> u64 {
    let [a, b, c, d] = lanes;
    let start =
        a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
    lanes.into_iter().fold(start, |hash, lane| (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4))
}

#[inline(always)]
fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

/// The XXH64 of `key` under `seed`.
#[inline]
pub(super) fn xxh64(seed: u64, key: &[u8]) -> u64 {
    let mut rest = key;
    let mut hash = if key.len() >= STRIPE {
        let mut state = lanes(seed);
        while let Some((stripe, tail)) = rest.split_first_chunk::<STRIPE>() {
            for (lane, input) in state.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*input));
            }
            rest = tail;
        }
        merge(state)
    } else {
        seed.wrapping_add(P5)
    };
    hash = hash.wrapping_add(key.len() as u64);
    while let Some((input, tail)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*input))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        rest = tail;
    }
    if let Some((input, tail)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*input)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    avalanche(hash)
}
