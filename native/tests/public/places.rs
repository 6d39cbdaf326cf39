//! Places: a city whose holders have grades, and anyone's check of a choice among them.

use city_chain_native::error::{Error, Result};
use city_chain_native::primitives::wire::{self, List, Record};
use city_chain_native::records::attestation::{Attestation, Claim, Spot, Testimony};
use city_chain_native::records::choice::{Chosen, verify_selection};
use city_chain_native::records::grading::{Event, Moment, Rules, Witness};
use city_chain_native::records::manifest::Manifest;
use city_chain_native::records::node::NodeRecord;
use city_chain_native::records::receipt::Receipt;
use city_chain_native::records::selection::{CandidateList, Candidates, Placing, Selection, Standing};
use city_chain_native::records::signed::Signed;

use crate::builders::{City, T, hlc, identity, text};

/// Where holders and witnesses of the fixed city are.
fn spot(at: u8) -> Spot {
    let shift = i32::from(at) * 10_000; // about 100 m
    let municipality = text(if at.is_multiple_of(2) { "shinjuku" } else { "shibuya" });
    Spot { municipality, lat_e7: 356_894_870 + shift, lon_e7: 1_396_917_060 - shift }
}

/// The rules of the fixed city: three witnesses, of whom two are needed.
pub fn rules() -> Rules {
    let mut witnesses: Vec<Witness> = (21..24).map(|at| Witness { node: identity(at).id(), spot: spot(at) }).collect();
    witnesses.sort_by_key(|witness| witness.node);
    let event = |name, multiplier_bp, until_ms| Event { municipality: text(name), multiplier_bp, from_ms: T, until_ms };
    Rules {
        home: text("shibuya"),
        home_bp: 12_500,
        grade_bp: [2_500, 5_000, 10_000, 20_000],
        grade_min: 0,
        needed: 2,
        rtt_us_max: 1_000,
        age_ms_max: 60_000,
        witnesses: List::new("witnesses", witnesses).unwrap(),
        events: List::new("events", vec![event("shinjuku", 15_000, T + 60_000), event("shinjuku", 90_000, T + 1)])
            .unwrap(),
    }
}

/// What the holder at `at` shows: nothing, or what is of grade 1, 2, 3, 3, 3.
pub fn attestation(city: &City, at: u8) -> Option<Attestation> {
    let holder = &city.holders[usize::from(at)];
    let claim = Claim {
        network: city.epoch.network,
        epoch: city.epoch.number,
        subject: holder.id(),
        spot: spot(at),
        nonce: [at; 32],
        hlc: hlc(at.into()),
        signature: [0; 64],
    };
    let claim = claim.sign(holder.signing()).unwrap();
    let times: &[u32] = [&[][..], &[], &[0, 40_000], &[300, 400], &[300, 400, 5_000], &[999, 1_000]][usize::from(at)];
    let said = (21..).zip(times).map(|(witness, rtt)| {
        Testimony::new(identity(witness).signing(), &claim, *rtt, hlc(10 + u64::from(at))).unwrap()
    });
    let said = said.collect();
    (at > 0).then(|| Attestation::new(claim, said).unwrap())
}

/// The fixed city with the places of its holders.
pub fn placed(city: City) -> City {
    let placing = Placing { epoch: city.epoch.number, at_ms: T + 2, rules: rules() };
    let mut list = city.candidates.list().clone();
    let network = list.network;
    let shown: Vec<Attestation> = (0..6).filter_map(|at| attestation(&city, at)).collect();
    let mut items = list.items.into_vec();
    for item in &mut items {
        let of = shown.iter().find(|shown| shown.claim.subject == item.node);
        let standing = |of: &Attestation| Standing::of(&item.node, of, &placing, &network).unwrap();
        item.standing = Some(of.map_or_else(Standing::none, standing));
    }
    list.items = List::new("items", items).unwrap();
    list.placing = Some(placing);
    City { candidates: Candidates::new(list).unwrap(), ..city }
}

/// A node's record with its place.
pub fn placed_record(city: &City) -> NodeRecord {
    let holder = &city.holders[3];
    let mut record = city.node_record(holder);
    record.place = wire::Bytes::new("place", wire::encode(&attestation(city, 3).unwrap()).unwrap()).unwrap();
    record.sign(holder.signing()).unwrap()
}

struct Bytes {
    manifest: Vec<u8>,
    list: Vec<u8>,
    epoch: Vec<u8>,
    shown: Vec<Vec<u8>>,
}

impl Bytes {
    fn of(city: &City, manifest: &Manifest) -> Self {
        let shown = (0..6).filter_map(|at| attestation(city, at)).map(|one| wire::encode(&one).unwrap()).collect();
        let [manifest, list, epoch] =
            [wire::encode(manifest), wire::encode(city.candidates.list()), wire::encode(&city.epoch)]
                .map(Result::unwrap);
        Self { manifest, list, epoch, shown }
    }

    fn verify(&self) -> Result<Vec<Chosen>> {
        let candidates = Candidates::new(wire::decode(&self.list)?)?;
        let shown = self.shown.iter().map(|one| wire::decode(one)).collect::<Result<Vec<Attestation>>>()?;
        verify_selection(&wire::decode(&self.manifest)?, &candidates, &wire::decode(&self.epoch)?, &shown)
    }
}

fn fixed() -> (City, Manifest, Bytes) {
    let city = placed(City::new("golden", 0));
    let manifest = city.disperse(0).manifest;
    let bytes = Bytes::of(&city, &manifest);
    (city, manifest, bytes)
}

#[test]
fn a_choice_is_computed_again_from_bytes_with_grades_and_weights() {
    let (city, manifest, bytes) = fixed();
    let chosen = bytes.verify().unwrap();
    assert_eq!(chosen.iter().map(|of| of.node).collect::<Vec<_>>(), *manifest.selection.nodes);
    assert_eq!(chosen.iter().map(|of| of.grade).collect::<Vec<_>>(), *manifest.selection.grades);
    for of in &chosen {
        let at = city.holders.iter().position(|holder| holder.id() == of.node).unwrap();
        assert_eq!(of.grade, [0, 1, 2, 3, 3, 3][at], "holder {at}");
        // Shinjuku's first event is on, its second is over; Shibuya is home.
        let capacity = 65_536 + at as u64;
        let weight = match at {
            0 => capacity / 4,
            1 => capacity / 2,
            2 => capacity * 3 / 2,
            4 => capacity * 2 * 3 / 2,
            _ => capacity * 2 * 5 / 4,
        };
        assert_eq!(u64::from(of.weight), weight, "holder {at}");
    }
    let receipt = city.receipt(&[city.disperse(0)], 0);
    receipt.verify(&city.trust()).unwrap();
    let grades: Vec<(u16, u8)> = (0..3).map(|at| (at, manifest.selection.grades[usize::from(at)])).collect();
    assert_eq!(receipt.availability.grades(), grades);
}

#[test]
fn without_places_the_bytes_are_those_of_version_1_and_there_are_no_grades() {
    let city = City::new("golden", 0);
    let manifest = city.disperse(0).manifest;
    let mut bytes = Bytes::of(&city, &manifest);
    assert!(bytes.verify().unwrap_err().to_string().contains("nothing of places"));
    bytes.shown.clear();
    assert!(bytes.verify().unwrap().iter().all(|of| of.grade == 0 && of.municipality.is_empty()));
    for (bytes, version) in [(&bytes.manifest, 1), (&bytes.list, 1)] {
        assert_eq!(u16::from_le_bytes([bytes[4], bytes[5]]), version);
    }
    assert!(city.availability(&city.disperse(0)).grades().is_empty());
}

#[test]
fn every_flipped_bit_of_manifest_list_and_attestations_is_refused() {
    let (_, _, mut bytes) = fixed();
    let mut refused = 0;
    let mut exhaust = |name: &str, length: usize, step: usize, flip: &mut dyn FnMut(usize) -> Result<Vec<Chosen>>| {
        for bit in (0..length * 8).step_by(step) {
            assert!(flip(bit).is_err(), "{name}: bit {} of byte {}", bit % 8, bit / 8);
            refused += 1;
        }
    };
    let xor = |bytes: &mut Vec<u8>, bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    let lengths = (bytes.manifest.len(), bytes.list.len(), bytes.shown[2].len());
    exhaust("manifest", lengths.0, 3, &mut |bit| {
        xor(&mut bytes.manifest, bit);
        let outcome = bytes.verify();
        xor(&mut bytes.manifest, bit);
        outcome
    });
    exhaust("candidate list", lengths.1, 5, &mut |bit| {
        xor(&mut bytes.list, bit);
        let outcome = bytes.verify();
        xor(&mut bytes.list, bit);
        outcome
    });
    exhaust("attestation", lengths.2, 5, &mut |bit| {
        xor(&mut bytes.shown[2], bit);
        let outcome = bytes.verify();
        xor(&mut bytes.shown[2], bit);
        outcome
    });
    assert!(bytes.verify().is_ok() && refused > 3_000, "{refused}");
}

/// The manifest with another selection, signed anew by its sender.
fn signed_with(city: &City, manifest: &Manifest, change: impl FnOnce(&mut Selection)) -> Manifest {
    let mut other = manifest.clone();
    change(&mut other.selection);
    other.sign(city.sender.signing()).unwrap()
}

#[test]
fn a_sender_who_signs_other_grades_nodes_or_lists_is_found_out_and_told_what_differs() {
    let (city, manifest, _) = fixed();
    type Change = fn(&mut Selection);
    let cases: [(&str, Change); 6] = [
        ("grades are", |of| of.grades = List::new("g", vec![3; of.grades.len()]).unwrap()),
        ("grades are", |of| of.grades = List::default()),
        ("at 0 is", |of| {
            let mut nodes = of.nodes.to_vec();
            nodes.swap(0, 1);
            of.nodes = List::new("n", nodes).unwrap();
        }),
        ("drawn from the candidate list", |of| of.candidates_root[7] ^= 1),
        ("of epoch 1", |of| of.epoch = 1),
        ("selection:", |of| of.proof[3] ^= 1),
    ];
    for (word, change) in cases {
        let wrong = signed_with(&city, &manifest, change);
        let error = Bytes::of(&city, &wrong).verify().unwrap_err();
        assert!(matches!(error, Error::Verification { .. }) && error.to_string().contains(word), "{word}: {error}");
        // What delegates check before they vote refuses it as well.
        assert!(wrong.selection.verify(&city.epoch, &city.candidates, &wrong.sender, wrong.sequence).is_err());
    }
    let other = City::new("elsewhere", 0);
    let mut bytes = Bytes::of(&city, &manifest);
    bytes.epoch = wire::encode(&other.epoch).unwrap();
    assert!(bytes.verify().unwrap_err().to_string().contains("of network"));
}

#[test]
fn a_list_that_says_better_grades_than_attestations_show_is_found_out() {
    let (city, ..) = fixed();
    let mut list: CandidateList = city.candidates.list().clone();
    let mut items = list.items.to_vec();
    for item in &mut items {
        item.standing.as_mut().unwrap().grade = 3;
    }
    list.items = List::new("items", items).unwrap();
    let lying = City { candidates: Candidates::new(list).unwrap(), ..city };
    let manifest = lying.disperse(0).manifest;
    let error = Bytes::of(&lying, &manifest).verify().unwrap_err().to_string();
    assert!(error.contains("grade 3") && error.contains("shows"), "{error}");
    let mut stranger = Bytes::of(&lying, &manifest);
    let elsewhere = City { sender: identity(1), holders: (51..57).map(identity).collect(), ..City::new("golden", 0) };
    stranger.shown = vec![wire::encode(&attestation(&elsewhere, 3).unwrap()).unwrap()];
    assert!(stranger.verify().unwrap_err().to_string().contains("no candidate"));
}

#[test]
fn half_a_list_with_places_is_none() {
    let (city, ..) = fixed();
    let mut list = city.candidates.list().clone();
    let mut items = list.items.to_vec();
    items[1].standing = None;
    list.items = List::new("items", items).unwrap();
    assert!(wire::encode(&list).unwrap_err().to_string().contains("all candidates"));
    list = city.candidates.list().clone();
    list.placing = None;
    assert!(Candidates::new(list).is_err());
}

#[test]
fn grades_that_are_not_as_many_as_the_nodes_are_refused() {
    let (city, manifest, _) = fixed();
    let short = |of: &mut Selection| of.grades = List::new("g", vec![1]).unwrap();
    let mut wrong = manifest.clone();
    short(&mut wrong.selection);
    for message in [wrong.selection.check(), wrong.check(), wrong.clone().sign(city.sender.signing()).map(drop)] {
        assert!(message.unwrap_err().to_string().contains("1 grades of 5"));
    }
}

#[test]
fn a_node_record_has_its_own_place_or_none() {
    let city = City::new("golden", 0);
    let record = placed_record(&city);
    record.verify().unwrap();
    let shown = record.attestation().unwrap().unwrap();
    let moment = Moment { network: city.epoch.network, epoch: 0, at_ms: T };
    assert_eq!(rules().grade(&shown, &moment).unwrap().grade, 3);
    let mut other = city.node_record(&city.holders[2]);
    other.place = record.place.clone();
    assert!(wire::encode(&other).unwrap_err().to_string().contains("another node's"));
    other.place = wire::Bytes::new("place", vec![1; 9]).unwrap();
    assert!(wire::encode(&other).unwrap_err().to_string().contains("node record: place attestation"));
}

#[test]
fn a_receipt_of_before_and_one_with_grades_say_their_versions_and_no_other() {
    for (city, version) in [(City::new("golden", 0), 1), (placed(City::new("golden", 0)), 2)] {
        let bytes = wire::encode(&city.receipt(&[city.disperse(0)], 0)).unwrap();
        assert_eq!(u16::from_le_bytes([bytes[4], bytes[5]]), version);
        let mut other = bytes.clone();
        other[4] = 3 - version as u8;
        assert!(wire::decode::<Receipt>(&other).unwrap_err().to_string().contains("written in version"));
    }
}
