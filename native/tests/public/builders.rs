//! A small city whose every key, clock and seed is fixed: whatever is built here has the same bytes wherever it is built.
//!
//! Signatures are deterministic (RFC 8032), VRF proofs are (RFC 9381), and nothing reads a clock, so the golden vectors can
//! pin every byte. Six holders in three districts, four delegates of stake 1 to 4, dispersals of (2, 4) with a quorum of 3.

use city_chain_native::algorithms::abba;
use city_chain_native::algorithms::ec;
use city_chain_native::algorithms::hs;
use city_chain_native::algorithms::tes::bls;
use city_chain_native::algorithms::tes::group::{Group, Scalar};
use city_chain_native::algorithms::tes::share::{BlsKeys, GroupKey, Keys, ScalarOf, SecretShare, Tdh2Keys};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash::Digest;
use city_chain_native::crypto::kem::Suite;
use city_chain_native::crypto::keys::{Purpose, derive};
use city_chain_native::primitives::bulk::BulkSignature;
use city_chain_native::primitives::wire::{self, Bytes, List, Text};
use city_chain_native::proofs::dpos::{self, Delegate, Slot, Validator, ValidatorSet, Vote};
use city_chain_native::proofs::poh::{self, Ack, HoldRequest};
use city_chain_native::records::Key;
use city_chain_native::records::availability::AvailabilityCertificate;
use city_chain_native::records::batch::{Batch, BatchHeader, CommitCertificate, Entry};
use city_chain_native::records::city_keys::{CityKeys, DelegateKeys};
use city_chain_native::records::epoch::{Election, Epoch, Handover};
use city_chain_native::records::identity::Identity;
use city_chain_native::records::manifest::{Cipher, Manifest, fragment_root};
use city_chain_native::records::node::{HOLDER, NodeRecord, VALIDATOR, ml_dsa_digest};
use city_chain_native::records::receipt::{Receipt, Trust, TrustedEpoch};
use city_chain_native::records::repair::{Move, Repair, RepairCertificate};
use city_chain_native::records::selection::{Candidate, CandidateList, Candidates, Draw};
use city_chain_native::records::signed::Signed;
use city_chain_native::records::transaction::{Place, Transaction};

pub const K: u16 = 2;
pub const N: u16 = 4;
pub const QUORUM: u16 = 3;
/// The code of the frozen records, which are older than `gf8`: (2, 4) would take that today.
pub const CODE: ec::Code = ec::Code::Rs16;
/// Holders and one spare.
pub const CHOSEN: usize = 5;
/// A fixed time, UTC epoch milliseconds.
pub const T: u64 = 1_800_000_000_000;

/// The clock `step` stamps after [`T`].
pub fn hlc(step: u64) -> u64 {
    T << 16 | step
}

pub fn identity(at: u8) -> Identity {
    Identity::from_master(&[at; 32])
}

pub fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new("text", text).unwrap()
}

pub struct City {
    pub sender: Identity,
    pub holders: Vec<Identity>,
    pub delegates: Vec<SigningKey>,
    pub epoch: Epoch,
    pub candidates: Candidates,
}

/// A transaction, cut up, held by all its holders.
pub struct Dispersal {
    pub transaction: Transaction,
    pub manifest: Manifest,
    pub fragments: Vec<Vec<u8>>,
    pub hashes: Vec<Digest>,
    pub requests: Vec<HoldRequest>,
    pub acks: Vec<Ack>,
}

/// The city's threshold keys, from two fixed polynomials, and all the shares, by index.
pub struct ThresholdKeys {
    pub public: CityKeys,
    pub signing: Vec<SecretShare>,
    pub encryption: Vec<SecretShare>,
}

/// Shares for `parties` of a fixed polynomial of three coefficients, and the group's key.
fn fixed_shares<K: Keys>(seed: u8, parties: u16) -> (GroupKey<K>, Vec<SecretShare>) {
    let [a, b, c] = [0, 1, 2].map(|at| ScalarOf::<K>::from_wide(&[seed + at; 64]));
    let share = |index: u16| {
        let x = ScalarOf::<K>::from_u64(index.into());
        SecretShare::new::<K>(index, &a.add(&x.mul(&b.add(&x.mul(&c))))).unwrap()
    };
    (GroupKey::new(K::Group::mul_base(&a)).unwrap(), (1..=parties).map(share).collect())
}

fn point<K: Keys, const LEN: usize>(point: &<K::Group as Group>::Point) -> [u8; LEN] {
    K::Group::to_bytes(point).try_into().unwrap()
}

impl ThresholdKeys {
    /// The certificate, compressed by the first three delegates.
    pub fn compress(&self, certificate: &CommitCertificate) -> CommitCertificate {
        let message = certificate.compressed_message();
        let shares: Vec<_> = self.signing[..3].iter().map(|share| bls::sign_share(share, &message).unwrap()).collect();
        let shares: Vec<&[u8]> = shares.iter().map(<[u8; bls::SHARE_LEN]>::as_slice).collect();
        certificate.compressed(&self.public, &shares).unwrap().0
    }
}

impl City {
    /// The city of that name; its epoch has the number `epoch`.
    pub fn new(name: &str, epoch: u64) -> Self {
        Self::of_delegates(name, epoch, (101..105).map(|at| SigningKey::from_seed(&[at; 32])).collect())
    }

    /// The city whose delegates are the identities 101 to 104, who have more keys than one that votes.
    pub fn of_identities(name: &str) -> Self {
        let key = |at| SigningKey::from_seed(&derive(&[at; 32], Purpose::Signing));
        Self::of_delegates(name, 0, (101..105).map(key).collect())
    }

    fn of_delegates(name: &str, epoch: u64, delegates: Vec<SigningKey>) -> Self {
        let stakes =
            (1..).zip(&delegates).map(|(stake, key)| Validator { key: key.public(), stake }).collect::<Vec<_>>();
        let epoch = Epoch::first(name, &[9; 32], ValidatorSet::new(epoch, stakes).unwrap()).unwrap();
        let holders: Vec<Identity> = (11..17).map(identity).collect();
        let mut items: Vec<Candidate> = (0u32..)
            .zip(&holders)
            .map(|(at, holder)| Candidate {
                node: holder.id(),
                weight: 65_536 + at,
                domain: text(["north", "east", "south"][at as usize % 3]),
                standing: None,
            })
            .collect();
        items.sort_by_key(|candidate| candidate.node);
        let list = CandidateList {
            network: epoch.network,
            region: text("tokyo"),
            placing: None,
            items: List::new("candidates", items).unwrap(),
        };
        Self { sender: identity(1), holders, delegates, epoch, candidates: Candidates::new(list).unwrap() }
    }

    pub fn trust(&self) -> Trust {
        let epochs = vec![TrustedEpoch { number: self.epoch.number, root: self.epoch.root() }];
        Trust { network: self.epoch.network, epochs: List::new("epochs", epochs).unwrap(), city_key: None }
    }

    pub fn holder(&self, id: &Key) -> &Identity {
        self.holders.iter().find(|holder| holder.id() == *id).unwrap()
    }

    pub fn transaction(&self, sequence: u64) -> Transaction {
        let place = Place { region: text("tokyo"), lat_e7: 356_894_870, lon_e7: 1_396_917_060 };
        let payload = format!("payload {sequence}").into_bytes();
        let touched = vec![b"account/2".to_vec(), b"account/1".to_vec()];
        Transaction::new(&self.sender, self.epoch.network, sequence, hlc(sequence), payload, Some(place), touched)
            .unwrap()
    }

    pub fn draw(&self) -> Draw {
        Draw::new(self.sender.vrf(), &self.epoch).unwrap()
    }

    fn manifest(&self, transaction: &Transaction, hashes: &[Digest], code: ec::Code) -> Manifest {
        let selection =
            self.draw().select(&self.candidates, &transaction.sender, transaction.sequence, CHOSEN).unwrap();
        Manifest {
            network: self.epoch.network,
            tx_id: transaction.digest().unwrap(),
            sender: transaction.sender,
            sequence: transaction.sequence,
            length: wire::encode(transaction).unwrap().len() as u64,
            code: code.id(),
            k: K,
            n: N,
            quorum: QUORUM,
            cipher: Cipher::None,
            fragment_root: fragment_root(hashes).unwrap(),
            selection,
            signature: [0; 64],
        }
        .sign(self.sender.signing())
        .unwrap()
    }

    pub fn disperse(&self, sequence: u64) -> Dispersal {
        self.disperse_by(sequence, CODE)
    }

    /// A dispersal with another code than that of the frozen records.
    pub fn disperse_by(&self, sequence: u64, code: ec::Code) -> Dispersal {
        let transaction = self.transaction(sequence);
        let bytes = wire::encode(&transaction).unwrap();
        let codec = ec::Codec::new(usize::from(K), usize::from(N - K), Some(code)).unwrap();
        let encoded = codec.encode(&bytes).unwrap();
        let fragments: Vec<Vec<u8>> = (0..encoded.n()).map(|at| encoded.fragment(at).unwrap().to_vec()).collect();
        let hashes = encoded.hashes();
        let manifest = self.manifest(&transaction, &hashes, code);
        let requests = (0..N).map(|index| {
            let node = manifest.selection.nodes[usize::from(index)];
            self.request(&manifest, &hashes, index, node)
        });
        let requests = poh::request_many(self.sender.signing(), requests.collect()).unwrap();
        let acks = requests
            .iter()
            .zip(&fragments)
            .flat_map(|(request, fragment)| {
                let key = self.holder(&request.node).signing();
                poh::hold_many(key, &[(request, fragment)], hlc(100 + sequence)).unwrap()
            })
            .collect();
        Dispersal { transaction, manifest, fragments, hashes, requests, acks }
    }

    /// An unsigned request to `node` for the fragment `index`.
    pub fn request(&self, manifest: &Manifest, hashes: &[Digest], index: u16, node: Key) -> HoldRequest {
        HoldRequest {
            network: manifest.network,
            sender: manifest.sender,
            node,
            tx_id: manifest.tx_id,
            manifest_hash: manifest.digest().unwrap(),
            index,
            n: manifest.n,
            fragment_hash: hashes[usize::from(index)],
            challenge: poh::challenge(&[77; 32], &node, index),
            hlc: hlc(50),
            deadline_ms: T + 80,
            hold_until_ms: T + 86_400_000,
            session: Bytes::default(),
            authorization: BulkSignature::empty(),
        }
    }

    /// The certificate of a dispersal with its first [`QUORUM`] acks.
    pub fn availability(&self, dispersal: &Dispersal) -> AvailabilityCertificate {
        let acks = &dispersal.acks[..usize::from(QUORUM)];
        AvailabilityCertificate::new(dispersal.manifest.clone(), dispersal.hashes.clone(), acks).unwrap()
    }

    /// The batch at `height` that commits the dispersals.
    pub fn batch(&self, height: u64, dispersals: &[Dispersal]) -> Batch {
        let entries = dispersals.iter().map(|d| Entry::transaction(&d.manifest).unwrap()).collect();
        Batch::new(&self.epoch, height, self.epoch.network, "tokyo", hlc(200), entries).unwrap()
    }

    pub fn slot(&self, header: &BatchHeader, attempt: u32) -> Slot {
        Slot {
            network: header.network,
            epoch: header.epoch,
            height: header.height,
            attempt,
            previous: header.previous,
            digest: header.digest().unwrap(),
        }
    }

    pub fn delegate(&self, at: usize) -> Delegate {
        let key = SigningKey::from_seed(&[101 + at as u8; 32]);
        let (network, seed) = (self.epoch.network, self.epoch.seed);
        Delegate::new(key, self.epoch.validators.clone(), network, seed, network).unwrap()
    }

    /// The key of the leader of `attempt` at `height`.
    pub fn leader(&self, height: u64, attempt: u32) -> &SigningKey {
        let public = dpos::leader(&self.epoch.validators, &self.epoch.seed, height, attempt).unwrap();
        self.delegates.iter().find(|key| key.public() == public).unwrap()
    }

    /// What the delegates of the highest stakes make of the header (stake 2 + 3 + 4 of 10, of which 7 are needed).
    pub fn commit(&self, header: &BatchHeader) -> CommitCertificate {
        let slot = self.slot(header, 0);
        let votes: Vec<Vote> = self.delegates[1..].iter().map(|key| Vote::new(key, slot)).collect();
        CommitCertificate::Dpos(dpos::collect(&self.epoch.validators, &slot, &votes).unwrap().certificate)
    }

    /// What the same delegates make of it in two blocks of HotStuff.
    pub fn commit_by_blocks(&self, header: &BatchHeader) -> CommitCertificate {
        let committee = self.epoch.validators.committee().unwrap();
        let batch = header.digest().unwrap();
        let first = hs::message::Header {
            chain: self.epoch.network,
            epoch: self.epoch.number,
            round: 1,
            parent: header.previous,
            qc_round: 0,
            tc: None,
            payload: hs::message::payload_digest(&batch),
            proposer: 1,
        };
        let second = hs::message::Header {
            round: 2,
            parent: first.id(),
            qc_round: 1,
            payload: hs::message::payload_digest(&[&[0], &batch[..]].concat()),
            proposer: 2,
            ..first
        };
        let message = hs::message::vote_message(&first.chain, first.epoch, 2, &second.id());
        let vote = |key: &SigningKey| (committee.position(&key.public()).unwrap(), key.sign(&message));
        let qc = hs::certificate::Qc::new(&committee, 2, second.id(), self.delegates[1..].iter().map(vote).collect());
        let headers = List::new("headers", vec![first, second]).unwrap();
        CommitCertificate::Hotstuff { batch, proof: hs::CommitProof { headers, qc: qc.unwrap() } }
    }

    /// What the same delegates confirm after a common subset.
    pub fn commit_by_subset(&self, header: &BatchHeader) -> CommitCertificate {
        let committee = self.epoch.validators.committee().unwrap();
        let instance = abba::Instance { chain: self.epoch.network, epoch: self.epoch.number, name: [9; 32] };
        let (scope, digest) = (instance.scope(&committee), header.digest().unwrap());
        let sign = |key: &SigningKey| abba::Endorsement {
            party: committee.position(&key.public()).unwrap(),
            signature: abba::confirm(key, &scope, &digest),
        };
        let signatures = abba::Signatures::new(self.delegates[1..].iter().map(sign).collect()).unwrap();
        let abba::Instance { chain, epoch, name } = instance;
        CommitCertificate::Abba(abba::Certificate { chain, epoch, instance: name, digest, signatures })
    }

    /// The receipt of the dispersal at `position`.
    pub fn receipt(&self, dispersals: &[Dispersal], position: u32) -> Receipt {
        let batch = self.batch(1, dispersals);
        let availability = self.availability(&dispersals[position as usize]);
        Receipt::new(availability, self.epoch.clone(), &batch, self.commit(&batch.header), position).unwrap()
    }

    /// The holders that a manifest does not name first.
    pub fn others(&self, manifest: &Manifest) -> Vec<&Identity> {
        let held = &manifest.selection.nodes[..usize::from(manifest.n)];
        self.holders.iter().filter(|holder| !held.contains(&holder.id())).collect()
    }

    /// The fragments 1 and 3 move to nodes that hold none yet.
    pub fn repair(&self, dispersal: &Dispersal) -> RepairCertificate {
        let manifest = &dispersal.manifest;
        let moves: Vec<Move> = [1, 3]
            .into_iter()
            .zip(self.others(manifest))
            .map(|(index, node)| Move { index, node: node.id() })
            .collect();
        let acks = moves
            .iter()
            .flat_map(|to| {
                let request = self.request(manifest, &dispersal.hashes, to.index, to.node);
                let fragment = dispersal.fragments[usize::from(to.index)].as_slice();
                poh::hold_many(self.holder(&to.node).signing(), &[(&request, fragment)], hlc(300)).unwrap()
            })
            .collect();
        let repair = Repair {
            network: manifest.network,
            tx_id: manifest.tx_id,
            manifest_hash: manifest.digest().unwrap(),
            generation: 1,
            candidates_root: *self.candidates.root(),
            moves: List::new("moves", moves).unwrap(),
            hlc: hlc(301),
            repairer: self.holders[0].id(),
            signature: [0; 64],
        }
        .sign(self.holders[0].signing())
        .unwrap();
        RepairCertificate { repair, acks: List::new("acks", acks).unwrap() }
    }

    /// A request for a fragment that travels sealed.
    pub fn sealed_request(&self, dispersal: &Dispersal) -> HoldRequest {
        let node = dispersal.manifest.selection.nodes[2];
        let mut request = self.request(&dispersal.manifest, &dispersal.hashes, 2, node);
        request.session = Bytes::new("session", vec![6; 32]).unwrap();
        poh::request_many(self.sender.signing(), vec![request]).unwrap().remove(0)
    }

    /// What an identity says of itself.
    pub fn node_record(&self, identity: &Identity) -> NodeRecord {
        let kem = identity.kem(Suite::XWing).unwrap().public().as_bytes().to_vec();
        NodeRecord {
            network: self.epoch.network,
            node: identity.id(),
            region: text("tokyo"),
            domain: text("north"),
            address: text("local:0"),
            roles: HOLDER | VALIDATOR,
            weight: 65_536,
            stake: 3,
            sequence: 2,
            hlc: hlc(1),
            kem: Bytes::new("key", kem).unwrap(),
            place: Bytes::default(),
            ml_dsa: ml_dsa_digest(identity.ml_dsa().unwrap().public().as_bytes()),
            signature: [0; 64],
        }
        .sign(identity.signing())
        .unwrap()
    }

    /// The city's threshold keys, certified by its delegates.
    pub fn keys(&self) -> ThresholdKeys {
        let validators = self.epoch.validators.items();
        let (signing_key, signing) = fixed_shares::<BlsKeys>(31, 4);
        let (encryption_key, encryption) = fixed_shares::<Tdh2Keys>(41, 4);
        let delegates = validators.iter().enumerate().map(|(at, validator)| DelegateKeys {
            node: validator.key,
            signing: point::<BlsKeys, 96>(signing[at].public::<BlsKeys>().unwrap().point()),
            encryption: point::<Tdh2Keys, 32>(encryption[at].public::<Tdh2Keys>().unwrap().point()),
            countersigner: (at != 1).then_some([at as u8; 32]),
        });
        let keys = CityKeys {
            network: self.epoch.network,
            epoch: self.epoch.number,
            epoch_root: self.epoch.root(),
            dealings: [8; 32],
            threshold: 3,
            signing_key: point::<BlsKeys, 96>(signing_key.point()),
            encryption_key: point::<Tdh2Keys, 32>(encryption_key.point()),
            delegates: List::new("delegates", delegates.collect()).unwrap(),
            signatures: List::default(),
        };
        let signatures: Vec<_> =
            self.delegates[1..].iter().map(|key| (key.public(), keys.sign(key).unwrap())).collect();
        ThresholdKeys { public: keys.certified(&self.epoch, &signatures).unwrap(), signing, encryption }
    }

    /// The handover to the same delegates with other stakes.
    pub fn handover(&self, keys: &CityKeys) -> Handover {
        let stakes = self.epoch.validators.items().iter().map(|v| Validator { stake: v.stake + 1, ..*v }).collect();
        let next = ValidatorSet::new(self.epoch.number + 1, stakes).unwrap();
        let election = Election::new(self.sender.signing(), &self.epoch, 7, [4; 32], next).unwrap();
        let digest = keys.digest().unwrap();
        let sign = |key: &SigningKey| (key.public(), Handover::sign(key, &election, &digest).unwrap());
        let signatures: Vec<_> = self.delegates[1..].iter().map(sign).collect();
        Handover::certify(election, digest, &self.epoch, &signatures).unwrap()
    }
}
