//! Every record that there is, with the way through its decoder and back.

use borsh::{BorshDeserialize, BorshSerialize};
use city_chain_native::algorithms::cbf::{Bloom, Cuckoo};
use city_chain_native::error::Result;
use city_chain_native::primitives::wire::{self, Bytes, List, Record, Text};
use city_chain_native::proofs::dpos::{Certificate, Proposal, Report, ValidatorSet, Vote};
use city_chain_native::proofs::poh::{Ack, HoldRequest};
use city_chain_native::proofs::pop::{Multipliers, Places};
use city_chain_native::records::attestation::{Attestation, Claim, Testimony};
use city_chain_native::records::availability::AvailabilityCertificate;
use city_chain_native::records::batch::{Batch, BatchHeader, CommitCertificate, Entry};
use city_chain_native::records::city_keys::CityKeys;
use city_chain_native::records::countersignature::{Countersignature, CountersignedReceipt};
use city_chain_native::records::dealing::{Dealing, Recipient};
use city_chain_native::records::epoch::{Election, Epoch, Handover};
use city_chain_native::records::grading::Rules;
use city_chain_native::records::key_file::{KeyFile, PublicKeyFile};
use city_chain_native::records::letter::Letter;
use city_chain_native::records::manifest::Manifest;
use city_chain_native::records::message::{Message, RepairRequest};
use city_chain_native::records::node::NodeRecord;
use city_chain_native::records::receipt::{Receipt, Trust};
use city_chain_native::records::repair::{Repair, RepairCertificate};
use city_chain_native::records::sealed::Sealed;
use city_chain_native::records::selection::{CandidateList, Selection};
use city_chain_native::records::sharding::Ruling;
use city_chain_native::records::transaction::{Transaction, TransactionHead};

/// One record that there is.
#[derive(Clone, Copy)]
pub struct Known {
    /// What samples of it are called.
    pub name: &'static str,
    /// The first bytes of its encoding.
    pub tag: [u8; 4],
    /// The oldest version that it is still read in.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
    /// Decodes and encodes again.
    pub recode: fn(&[u8]) -> Result<Vec<u8>>,
}

impl Known {
    const fn of<R: Record>(name: &'static str) -> Self {
        Self { name, tag: R::TAG, oldest: R::VERSION, newest: R::VERSION, recode: recode::<R> }
    }

    /// One whose older versions are read as well.
    const fn since<R: Record>(oldest: u16, name: &'static str) -> Self {
        Self { oldest, ..Self::of::<R>(name) }
    }

    /// One whose type is private to its module.
    const fn private(name: &'static str, tag: [u8; 4], recode: fn(&[u8]) -> Result<Vec<u8>>) -> Self {
        Self { name, tag, oldest: 1, newest: 1, recode }
    }
}

/// Every record there is.
pub const RECORDS: [Known; 47] = [
    Known::since::<Transaction>(1, "transaction"),
    Known::of::<TransactionHead>("transaction_head"),
    Known::since::<CandidateList>(1, "candidate_list"),
    Known::since::<Manifest>(1, "manifest"),
    Known::of::<HoldRequest>("hold_request"),
    Known::of::<Ack>("ack"),
    Known::since::<AvailabilityCertificate>(1, "availability_certificate"),
    Known::of::<Entry>("entry"),
    Known::of::<BatchHeader>("batch_header"),
    Known::of::<Batch>("batch"),
    Known::of::<CommitCertificate>("commit_certificate"),
    Known::of::<Epoch>("epoch"),
    Known::of::<Election>("election"),
    Known::of::<Handover>("handover"),
    Known::of::<CityKeys>("city_keys"),
    Known::of::<Dealing>("dealing"),
    Known::of::<Recipient>("recipient"),
    Known::of::<ValidatorSet>("validator_set"),
    Known::of::<Vote>("vote"),
    Known::of::<Report>("report"),
    Known::of::<Proposal>("proposal"),
    Known::of::<Certificate>("certificate"),
    Known::since::<Receipt>(1, "receipt"),
    Known::since::<Trust>(1, "trust"),
    Known::of::<Countersignature>("countersignature"),
    Known::since::<CountersignedReceipt>(1, "countersigned_receipt"),
    Known::of::<Repair>("repair"),
    Known::of::<RepairCertificate>("repair_certificate"),
    Known::since::<Ruling>(1, "ruling"),
    Known::of::<Message>("message"),
    Known::of::<RepairRequest>("repair_request"),
    Known::since::<NodeRecord>(2, "node_record"),
    Known::of::<Letter>("letter"),
    Known::since::<Selection>(1, "selection"),
    Known::of::<Claim>("place_claim"),
    Known::of::<Testimony>("place_testimony"),
    Known::of::<Attestation>("place_attestation"),
    Known::of::<Rules>("place_rules"),
    Known::of::<Sealed>("sealed"),
    Known::of::<KeyFile>("key_file"),
    Known::of::<PublicKeyFile>("public_key_file"),
    Known::private("delegate_state", *b"CCds", |bytes| super::restore(bytes)?.snapshot()),
    Known::private("bloom", *b"CCbl", |bytes| Bloom::from_bytes(bytes)?.to_bytes()),
    Known::private("cuckoo", *b"CCcf", |bytes| Cuckoo::from_bytes(bytes)?.to_bytes()),
    Known::private("map", *b"CCpl", |bytes| Places::from_bytes(bytes)?.to_bytes()),
    Known::private("multipliers", *b"CCpm", |bytes| Multipliers::from_bytes(bytes)?.to_bytes()),
    Known::of::<Nested>("nested"),
];

/// The way through the decoder of `R` and back.
pub fn recode<R: Record>(bytes: &[u8]) -> Result<Vec<u8>> {
    wire::encode(&wire::decode::<R>(bytes)?)
}

/// Everything that the codec has, in one record.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Nested {
    pub lists: List<List<u64, 7>, 5>,
    pub bytes: Option<Bytes<9>>,
    pub texts: List<Text<5>, 3>,
    pub large: Option<List<Bytes<{ 1 << 20 }>, { 1 << 20 }>>,
}

impl Record for Nested {
    const TAG: [u8; 4] = *b"CCne";
    const VERSION: u16 = 1;
    const NAME: &'static str = "nested";
    const LEN_MAX: usize = 1 << 16;
}
