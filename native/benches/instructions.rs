//! The hot calls, for counting their instructions: `instructions NAME ROUNDS` prepares what the call needs and makes it
//! so many times; without arguments it lists the names.
//!
//! `benches/instructions.py` runs it twice under callgrind and divides the difference, so that the preparation does not
//! count. Every round has inputs of its own: what a verifier remembers of one does not help with the next.

#[allow(dead_code)]
#[path = "../tests/public/builders.rs"]
mod builders;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;

use city_chain_native::algorithms::cbf::{Bloom, Cuckoo};
use city_chain_native::algorithms::ec::{self, Code, Codec, Fragments};
use city_chain_native::algorithms::rvh::{Keys, NodeSet};
use city_chain_native::algorithms::tes::bls;
use city_chain_native::algorithms::tnh::Hlc;
use city_chain_native::algorithms::vrf;
use city_chain_native::crypto::ed25519::{self, SigningKey};
use city_chain_native::crypto::kem::{self, Suite};
use city_chain_native::crypto::{hash, merkle};
use city_chain_native::primitives::wire;
use city_chain_native::proofs::dpos::{self, Vote};
use city_chain_native::proofs::poh;
use city_chain_native::records::receipt::{Receipt, Trust};
use city_chain_native::records::transaction::Transaction;

use builders::City;

/// What is prepared: as many inputs as the longest run takes.
const INPUTS: usize = 48;
/// Keys of one batch call of a filter, stamps of one round of the clock.
const MANY: usize = 1000;

type Call = Box<dyn FnMut(usize)>;

fn sink<T>(value: T) {
    black_box(value);
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut filled = vec![0; len];
    hash::Hasher::new("city-chain bench input").u64(seed).fill(&mut filled);
    filled
}

fn pages() -> Vec<Vec<u8>> {
    (0..INPUTS as u64).map(|seed| bytes(seed, 4096)).collect()
}

fn keys(seed: u64) -> Vec<Vec<u8>> {
    (0..MANY as u64).map(|at| bytes(seed << 32 | at, 32)).collect()
}

fn nodes(count: u64, weighted: bool) -> NodeSet {
    let ids: Vec<Vec<u8>> = (0..count).map(|at| bytes(at, 32)).collect();
    let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
    let weights: Vec<f64> = (0..count).map(|at| 1.0 + (at % 7) as f64).collect();
    NodeSet::new(&ids, weighted.then_some(&weights), None).unwrap()
}

fn ec_calls(name: &str) -> Option<Call> {
    let pages = pages();
    Some(match name {
        "ec_encode_4k_6_10" => Box::new(move |at| sink(ec::encode(&pages[at], 6, 4).unwrap())),
        "ec_decode_4k_6_10" => {
            let encoded: Vec<BTreeMap<usize, Vec<u8>>> = pages
                .iter()
                .map(|page| {
                    let whole = ec::encode(page, 6, 4).unwrap();
                    (4..10).map(|index| (index, whole.fragment(index).unwrap().to_vec())).collect()
                })
                .collect();
            Box::new(move |at| {
                let fragments = encoded[at].iter().map(|(index, bytes)| (*index, bytes.as_slice())).collect();
                black_box(ec::decode(&fragments, 6, 4, 4096).unwrap());
            })
        }
        _ => return None,
    })
}

fn more_ec_calls(name: &str) -> Option<Call> {
    let pages = pages();
    let (k, p, code, lost) = match name {
        "ec_rebuild_2_4k_6_10" => (6, 4, Code::Gf8, [0, 9]),
        "ec_encode_4k_6_10_rs16" => (6, 4, Code::Rs16, [0, 0]),
        _ => return None,
    };
    let codec = Codec::new(k, p, Some(code)).unwrap();
    if name.starts_with("ec_encode") {
        return Some(Box::new(move |at| sink(codec.encode(&pages[at]).unwrap())));
    }
    let kept: Vec<BTreeMap<usize, Vec<u8>>> = pages
        .iter()
        .map(|page| {
            let whole = codec.encode(page).unwrap();
            (2..8).map(|index| (index, whole.fragment(index).unwrap().to_vec())).collect()
        })
        .collect();
    Some(Box::new(move |at| {
        let fragments = kept[at].iter().map(|(index, bytes)| (*index, bytes.as_slice())).collect();
        sink(codec.rebuild(&Fragments::new(fragments).unwrap(), &lost, 4096).unwrap());
    }))
}

fn batch_calls(name: &str) -> Option<Call> {
    let packed: Vec<Vec<u8>> = (0..INPUTS as u64).map(|seed| bytes(seed, 32 * MANY)).collect();
    let mut bloom = Bloom::new((INPUTS * MANY) as u64, 0.01, 0).unwrap();
    Some(match name {
        "rvh_pick_many_1000_10_of_50" => {
            let set = nodes(50, false);
            Box::new(move |at| sink(set.pick_many(Keys::Packed(&packed[at], 32), 10, &[]).unwrap()))
        }
        "bloom_insert_packed_1000" => Box::new(move |at| sink(bloom.insert_packed(&packed[at], 32).unwrap())),
        "vrf_sortition" => {
            let key = vrf::SecretKey::from_seed(&[1; 32]);
            let betas: Vec<_> =
                packed.iter().map(|alpha| vrf::verify(&key.public(), alpha, &key.prove(alpha)).unwrap()).collect();
            Box::new(move |at| sink(vrf::sortition(&betas[at], 1000, 100_000, 1000).unwrap()))
        }
        _ => return None,
    })
}

fn rvh_calls(name: &str) -> Option<Call> {
    let (count, weighted) = match name {
        "rvh_pick_10_of_50" => (50, false),
        "rvh_pick_10_of_1000" => (1000, false),
        "rvh_pick_10_of_1000_weighted" => (1000, true),
        _ => return None,
    };
    let (set, keys) = (nodes(count, weighted), keys(1));
    Some(Box::new(move |at| sink(set.pick(&keys[at], 10, &[]).unwrap())))
}

fn vrf_calls(name: &str) -> Option<Call> {
    let key = vrf::SecretKey::from_seed(&[1; 32]);
    let alphas = keys(2);
    Some(match name {
        "vrf_prove" => Box::new(move |at| sink(key.prove(&alphas[at]))),
        "vrf_verify" => {
            let public = key.public();
            let proofs: Vec<_> = alphas[..INPUTS].iter().map(|alpha| key.prove(alpha)).collect();
            Box::new(move |at| sink(vrf::verify(&public, &alphas[at], &proofs[at]).unwrap()))
        }
        _ => return None,
    })
}

fn each(set: &[Vec<u8>]) -> Vec<&[u8]> {
    set.iter().map(Vec::as_slice).collect()
}

fn cbf_calls(name: &str) -> Option<Call> {
    let sets: Vec<Vec<Vec<u8>>> = (0..INPUTS as u64).map(keys).collect();
    let capacity = (INPUTS * MANY) as u64;
    let (mut bloom, mut cuckoo) = (Bloom::new(capacity, 0.01, 0).unwrap(), Cuckoo::new(capacity, 0).unwrap());
    Some(match name {
        "bloom_insert_1000" => Box::new(move |at| sink(bloom.insert_many(each(&sets[at])))),
        "bloom_contains_1000" => {
            bloom.insert_many(each(&sets[0]));
            Box::new(move |at| sink(bloom.contains_many(each(&sets[at]))))
        }
        "cuckoo_insert_1000" => Box::new(move |at| cuckoo.insert_many(each(&sets[at])).unwrap()),
        "cuckoo_contains_1000" => {
            cuckoo.insert_many(each(&sets[0])).unwrap();
            Box::new(move |at| sink(cuckoo.contains_many(each(&sets[at]))))
        }
        _ => return None,
    })
}

fn clock_calls(name: &str) -> Option<Call> {
    let mut clock = Hlc::new(500, 0).unwrap();
    (name == "hlc_now_1000").then(|| -> Call {
        Box::new(move |at| {
            for _ in 0..MANY {
                black_box(clock.now(1_800_000_000_000 + at as u64).unwrap());
            }
        })
    })
}

fn crypto_calls(name: &str) -> Option<Call> {
    let signers: Vec<SigningKey> = (0..10).map(|at| SigningKey::from_seed(&[at; 32])).collect();
    let messages = keys(3);
    let signed = |at: usize, signer: &SigningKey| (signer.public(), signer.sign(&messages[at]));
    Some(match name {
        "ed25519_sign" => {
            let messages = messages.clone();
            Box::new(move |at| sink(signers[0].sign(&messages[at])))
        }
        "ed25519_verify" => {
            let signed: Vec<_> = (0..INPUTS).map(|at| signed(at, &signers[0])).collect();
            let messages = messages.clone();
            Box::new(move |at| ed25519::verify(&signed[at].0, &messages[at], &signed[at].1).unwrap())
        }
        "merkle_root_256" => {
            let sets: Vec<Vec<hash::Digest>> = (0..INPUTS as u64)
                .map(|set| (0..256).map(|at| hash::fragment(&bytes(set << 32 | at, 32))).collect())
                .collect();
            Box::new(move |at| sink(merkle::root(&sets[at]).unwrap()))
        }
        _ => return None,
    })
}

/// What draws nothing by itself, or does the same whatever it draws. ML-DSA is not here: signing tries as often as it must,
/// and whoever counts verifying counts the making of what is verified.
fn key_calls(name: &str) -> Option<Call> {
    let messages = keys(4);
    Some(match name {
        "bls_sign" => {
            let key = bls::SecretKey::from_seed(&[1; 32]).unwrap();
            Box::new(move |at| sink(key.sign(&messages[at]).unwrap()))
        }
        "bls_verify" => {
            let key = bls::SecretKey::from_seed(&[1; 32]).unwrap();
            let signed: Vec<_> = messages[..INPUTS].iter().map(|message| key.sign(message).unwrap()).collect();
            Box::new(move |at| bls::verify(key.public(), &messages[at], &signed[at]).unwrap())
        }
        "x_wing_decapsulate" => {
            let key = kem::SecretKey::from_seed(Suite::XWing, &[1; 32]).unwrap();
            let made: Vec<Vec<u8>> = (0..INPUTS).map(|_| key.public().encapsulate().unwrap().0).collect();
            Box::new(move |at| sink(key.decapsulate(&made[at]).unwrap()))
        }
        _ => return None,
    })
}

fn proof_calls(name: &str) -> Option<Call> {
    let city = City::new("counted", 0);
    Some(match name {
        "poh_hold" => {
            let made: Vec<_> = (0..INPUTS as u64).map(|sequence| city.disperse(sequence)).collect();
            Box::new(move |at| {
                let request = &made[at].requests[0];
                let key = city.holder(&request.node).signing();
                black_box(poh::hold_many(key, &[(request, &made[at].fragments[0])], builders::hlc(7)).unwrap());
            })
        }
        "poh_verify_acks_4" => {
            let made: Vec<_> = (0..INPUTS as u64).map(|sequence| city.disperse(sequence)).collect();
            Box::new(move |at| {
                assert!(poh::verify_acks(&made[at].acks).unwrap().iter().all(Result::is_ok));
            })
        }
        "dpos_collect_3" => {
            let headers: Vec<_> = (0..INPUTS as u64)
                .map(|sequence| city.batch(1 + sequence, &[city.disperse(sequence)]).header)
                .collect();
            let slots: Vec<_> = headers.iter().map(|header| city.slot(header, 0)).collect();
            let votes: Vec<Vec<Vote>> = slots
                .iter()
                .map(|slot| city.delegates[1..].iter().map(|key| Vote::new(key, *slot)).collect())
                .collect();
            Box::new(move |at| {
                black_box(dpos::collect(&city.epoch.validators, &slots[at], &votes[at]).unwrap());
            })
        }
        _ => return None,
    })
}

fn record_calls(name: &str) -> Option<Call> {
    let city = City::new("counted", 0);
    Some(match name {
        "transaction_decode_4k" => {
            let made: Vec<Transaction> = (0u64..)
                .zip(pages())
                .map(|(sequence, page)| {
                    let hlc = builders::hlc(sequence);
                    Transaction::new(&city.sender, city.epoch.network, sequence, hlc, page, None, Vec::new()).unwrap()
                })
                .collect();
            let encoded: Vec<Vec<u8>> = made.iter().map(|made| wire::encode(made).unwrap()).collect();
            Box::new(move |at| sink(wire::decode::<Transaction>(&encoded[at]).unwrap()))
        }
        "receipt_decode_and_verify" => {
            let encoded: Vec<Vec<u8>> = (0..INPUTS as u64)
                .map(|sequence| wire::encode(&city.receipt(&[city.disperse(sequence)], 0)).unwrap())
                .collect();
            let trust = Trust::of(&city.epoch).unwrap();
            Box::new(move |at| wire::decode::<Receipt>(&encoded[at]).unwrap().verify(&trust).unwrap())
        }
        _ => return None,
    })
}

const NAMES: [&str; 28] = [
    "ec_encode_4k_6_10",
    "ec_decode_4k_6_10",
    "ec_rebuild_2_4k_6_10",
    "ec_encode_4k_6_10_rs16",
    "rvh_pick_10_of_50",
    "rvh_pick_10_of_1000",
    "rvh_pick_10_of_1000_weighted",
    "rvh_pick_many_1000_10_of_50",
    "vrf_prove",
    "vrf_verify",
    "vrf_sortition",
    "bloom_insert_1000",
    "bloom_insert_packed_1000",
    "bloom_contains_1000",
    "cuckoo_insert_1000",
    "cuckoo_contains_1000",
    "hlc_now_1000",
    "ed25519_sign",
    "ed25519_verify",
    "merkle_root_256",
    "bls_sign",
    "bls_verify",
    "x_wing_decapsulate",
    "poh_hold",
    "poh_verify_acks_4",
    "dpos_collect_3",
    "transaction_decode_4k",
    "receipt_decode_and_verify",
];

fn call(name: &str) -> Option<Call> {
    [
        ec_calls,
        more_ec_calls,
        rvh_calls,
        batch_calls,
        vrf_calls,
        cbf_calls,
        clock_calls,
        crypto_calls,
        key_calls,
        proof_calls,
        record_calls,
    ]
    .iter()
    .find_map(|calls| calls(name))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.as_slice() {
        [] => {
            NAMES.iter().for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        [name, rounds] => match (call(name), rounds.parse::<usize>()) {
            (Some(mut call), Ok(rounds)) if rounds <= INPUTS => {
                (0..rounds).for_each(&mut call);
                ExitCode::SUCCESS
            }
            _ => {
                eprintln!("instructions: no call {name:?}, or more than {INPUTS} rounds: {rounds:?}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: instructions [NAME ROUNDS]");
            ExitCode::FAILURE
        }
    }
}
