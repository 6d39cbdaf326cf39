//! Dealers that lie, as only a dealer can: what they sign is well-formed.

use super::*;
use crate::algorithms::tes::bls;
use crate::proofs::dpos::ValidatorSet;

struct Town {
    people: Vec<Identity>,
    epoch: Epoch,
    recipients: Vec<Recipient>,
    dealt: Vec<Dealing>,
}

fn town(count: u64, number: u64) -> Town {
    let mut people: Vec<Identity> = (0..count).map(|at| Identity::child(&[7; 32], b"delegate", at)).collect();
    people.sort_by_key(Identity::id);
    let items = people.iter().map(|person| Validator { key: person.id(), stake: 1 }).collect();
    let epoch = Epoch::first("Utrecht", &[1; 32], ValidatorSet::new(number, items).unwrap()).unwrap();
    let recipients: Vec<Recipient> =
        people.iter().map(|person| Recipient::new(person, epoch.network).unwrap()).collect();
    let dealt = people.iter().map(|person| Dealing::deal(person, &epoch, &recipients).unwrap()).collect();
    Town { people, epoch, recipients, dealt }
}

impl Town {
    /// The dealings with the first one changed and signed anew by its dealer.
    fn with_lie(&self, lie: impl FnOnce(&mut Dealing)) -> Vec<Dealing> {
        let mut dealt = self.dealt.clone();
        lie(&mut dealt[0]);
        dealt[0] = dealt[0].clone().sign(self.people[0].signing()).unwrap();
        dealt
    }

    /// What everybody names.
    fn named(&self, dealt: Vec<Dealing>) -> (Key, String) {
        let (dealings, mut faults) = Dealings::sort(&self.epoch, dealt, None).unwrap();
        assert!(dealings.is_none());
        assert_eq!(faults.len(), 1);
        faults.remove(0)
    }
}

/// Seals two shares anew, as the dealer could.
fn sealed(town: &Town, recipient: usize, signing: &SecretShare, encryption: &SecretShare) -> SealedShares {
    let occasion = Occasion::new(&town.epoch, None).unwrap();
    let to = &town.recipients[recipient];
    let (session, secret) = kem::PublicKey::from_bytes(&to.kem).unwrap().encapsulate().unwrap();
    let bound = occasion.seal_binding(&town.people[0].id(), &to.node);
    let plain = [&signing.to_bytes()[..], &encryption.to_bytes()].concat();
    let shares = dem::seal(&seal_key(&secret, &bound), &bound, &plain);
    SealedShares { session: Bytes::new("", session).unwrap(), shares: Bytes::new("", shares).unwrap() }
}

#[test]
fn a_wrong_share_to_one_delegate_is_named_by_it_and_by_nobody_else() {
    let town = town(4, 0);
    let one = <<BlsKeys as Keys>::Group as Group>::Scalar::ONE;
    let other = <<Tdh2Keys as Keys>::Group as Group>::Scalar::ONE;
    let (signing, encryption) =
        (SecretShare::new::<BlsKeys>(2, &one).unwrap(), SecretShare::new::<Tdh2Keys>(2, &other).unwrap());
    let foreign = SecretShare::new::<BlsKeys>(3, &one).unwrap();
    for (lie, word) in [
        (sealed(&town, 1, &signing, &encryption), "does not fit its deal"),
        (sealed(&town, 1, &foreign, &encryption), "party 2's is needed"),
        (sealed(&town, 1, &encryption, &encryption), "share of"),
        (town.dealt[0].sealed[0].clone(), "cannot be opened"),
        (town.dealt[1].sealed[1].clone(), "cannot be opened"),
        (SealedShares::default(), "nothing in it is for this delegate"),
    ] {
        let dealt = town.with_lie(|dealing| {
            let mut all = dealing.sealed.to_vec();
            all[1] = lie;
            dealing.sealed = List::new("", all).unwrap();
        });
        let (dealings, faults) = Dealings::sort(&town.epoch, dealt, None).unwrap();
        assert!(faults.is_empty(), "{word}");
        let dealings = dealings.unwrap();
        for at in [0, 2, 3] {
            assert!(dealings.open(&town.people[at]).unwrap().0.is_some(), "{word}");
        }
        let (shares, faults) = dealings.open(&town.people[1]).unwrap();
        assert!(shares.is_none());
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].0, town.people[0].id());
        assert!(faults[0].1.contains(word), "{} is not about {word}", faults[0].1);
    }
}

#[test]
fn what_everybody_can_see_is_named_by_everybody() {
    let town = town(4, 0);
    let elsewhere = self::town(4, 1);
    let occasion = Occasion::new(&town.epoch, None).unwrap();
    let without = Setup::new(b"another context", occasion.threshold, occasion.parties).unwrap();
    let replayed = dkg::deal::<BlsKeys>(without, 1).unwrap().0;
    let fewer = Setup::new(&occasion.contexts[0], occasion.threshold - 1, occasion.parties).unwrap();
    let low = dkg::deal::<BlsKeys>(fewer, 1).unwrap().0;
    let put = |bytes: &[u8]| Bytes::new("", bytes.to_vec()).unwrap();
    let cut = &town.dealt[0].signing[..town.dealt[0].signing.len() - 1];
    type Lie<'a> = (&'a str, Box<dyn FnOnce(&mut Dealing) + 'a>);
    let lies: Vec<Lie<'_>> = vec![
        ("cut off", Box::new(|dealing| dealing.signing = put(cut))),
        ("of another context", Box::new(|dealing| dealing.signing = put(replayed.as_bytes()))),
        ("of a lower threshold", Box::new(|dealing| dealing.signing = put(low.as_bytes()))),
        ("another dealer's", Box::new(|dealing| dealing.signing = town.dealt[1].signing.clone())),
        ("of another epoch", Box::new(|dealing| dealing.signing = elsewhere.dealt[0].signing.clone())),
        ("the other key's", Box::new(|dealing| dealing.signing = dealing.encryption.clone())),
        ("empty", Box::new(|dealing| dealing.encryption = put(&[]))),
        ("for fewer", Box::new(|dealing| dealing.sealed = List::new("", dealing.sealed[1..].to_vec()).unwrap())),
        ("said to be of another epoch", Box::new(|dealing| dealing.epoch = 1)),
        ("said to hand on", Box::new(|dealing| dealing.handed_on = Some([0; 32]))),
    ];
    for (what, lie) in lies {
        let (dealer, why) = town.named(town.with_lie(lie));
        assert_eq!(dealer, town.people[0].id(), "{what}: {why}");
    }
    let mut foreign = town.dealt.clone();
    foreign[0] = elsewhere.dealt[0].clone();
    assert!(town.named(foreign).1.contains("another network, epoch or occasion"));
    let mut unsigned = town.dealt.clone();
    unsigned[0].signature[0] ^= 1;
    assert_eq!(town.named(unsigned).0, town.people[0].id());
}

#[test]
fn a_wrong_proof_of_possession_is_named() {
    let town = town(4, 0);
    for at in 1..=32 {
        let dealt = town.with_lie(|dealing| {
            let mut bytes = dealing.signing.to_vec();
            let place = bytes.len() - at;
            bytes[place] ^= 1;
            dealing.signing = Bytes::new("", bytes).unwrap();
        });
        assert_eq!(town.named(dealt).0, town.people[0].id());
    }
}

#[test]
fn shares_sign_together_and_are_kept() {
    let town = town(4, 0);
    let dealings = Dealings::sort(&town.epoch, town.dealt.clone(), None).unwrap().0.unwrap();
    let keys = dealings.keys();
    let parts: Vec<Vec<u8>> = town.people[1..]
        .iter()
        .map(|person| {
            let shares = dealings.open(person).unwrap().0.unwrap();
            let row = shares.seal(person).unwrap();
            let kept = KeyShares::open(person, keys, &row).unwrap();
            for secret in [shares.signing.to_bytes(), shares.encryption.to_bytes()] {
                assert!(row.windows(16).all(|run| !secret.windows(16).any(|other| other == run)));
            }
            kept.sign(b"message").unwrap()
        })
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let public = keys.signing_group().unwrap();
    let made = bls::combine(&public, keys.threshold, &keys.signing_shares().unwrap(), &parts, b"message").unwrap();
    bls::verify(&public, b"message", &made.signature).unwrap();
    assert!(bls::combine(&public, keys.threshold, &[], &parts[1..], b"message").is_err());
}

#[test]
fn debug_shows_no_share() {
    let town = town(1, 0);
    let dealings = Dealings::sort(&town.epoch, town.dealt.clone(), None).unwrap().0.unwrap();
    let shares = dealings.open(&town.people[0]).unwrap().0.unwrap();
    let shown = format!("{shares:?}");
    for secret in [shares.signing.to_bytes(), shares.encryption.to_bytes()] {
        assert!(!shown.contains(&hex::encode(&secret[4..12])), "{shown}");
    }
}
