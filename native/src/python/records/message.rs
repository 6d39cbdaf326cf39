//! Bindings of what nodes say to each other, and of their entries in Presence.

use pyo3::prelude::*;

use super::place::PlaceAttestation;
use crate::crypto::hash::Digest;
use crate::crypto::kem::Suite;
use crate::primitives::wire::{self, Bytes, List, Text};
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{Wrapper, items, record};
use crate::python::text::Str;
use crate::records::message as model;
use crate::records::node;
use crate::records::signed::{SIGNATURE_LEN, Signed};

record! {
    /// A node's signed entry in Presence: who it is, where, what it does, and its public keys.
    ///
    /// Args:
    ///     identity: The node.
    ///     network: The network's id, 32 bytes.
    ///     region: The region whose list it is on, 1 to 64 bytes of UTF-8.
    ///     domain: Its failure domain within the region, 1 to 64 bytes.
    ///     address: Where it answers, 1 to 256 bytes.
    ///     roles: `HOLDER` and `VALIDATOR` bits, at least one.
    ///     weight: Its share of the load, in 1/65536.
    ///     stake: Its stake.
    ///     sequence: Rises with every login.
    ///     hlc: The node's hybrid logical clock.
    ///     suite: Of which suite the KEM key is that it shows: ``"x-wing"`` or ``"sntrup761-x25519"``.
    ///     place: The attestation of the node's place; None if it has none.
    ///
    /// Raises:
    ///     InputError: A wrong length, an empty name, an unknown role or suite, or another node's attestation.
    ///
    /// Example:
    ///     >>> from city_chain.records import HOLDER, NodeRecord
    ///     >>> entry = NodeRecord(identity, network=epoch.network, region="Utrecht", domain="north", address="local:1",
    ///     ...                    roles=HOLDER, weight=65536, stake=0, sequence=1, hlc=1)
    ///     >>> entry.verify()
    NodeRecord(node::NodeRecord) in "city_chain.records", id = Signed::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The node's id, 32 bytes.
        node: Digest = |core| core.node;
        /// The region whose list it is on.
        region: String = |core| core.region.to_string();
        /// Its failure domain within the region.
        domain: String = |core| core.domain.to_string();
        /// Where it answers.
        address: String = |core| core.address.to_string();
        /// `HOLDER` and `VALIDATOR` bits.
        roles: u8 = |core| core.roles;
        /// Its share of the load, in 1/65536.
        weight: u32 = |core| core.weight;
        /// Its stake.
        stake: u64 = |core| core.stake;
        /// Rises with every login.
        sequence: u64 = |core| core.sequence;
        /// The node's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// The KEM public key that secrets for the node are sealed to, type prefix included.
        kem: &[u8] = |core| &core.kem;
        /// The digest of its ML-DSA-65 public key, 32 bytes.
        ml_dsa: Digest = |core| core.ml_dsa;
    }
}

impl NodeRecord {
    fn attested(&self) -> crate::error::Result<Option<PlaceAttestation>> {
        self.core.attestation()?.map(PlaceAttestation::wrap).transpose()
    }
}

#[pymethods]
impl NodeRecord {
    #[new]
    #[pyo3(signature = (identity, *, network, region, domain, address, roles, weight, stake, sequence, hlc, suite = Str("x-wing".to_owned()), place = None))]
    #[pyo3(
        text_signature = "(identity, *, network, region, domain, address, roles, weight, stake, sequence, hlc, suite='x-wing', place=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        region: Str,
        domain: Str,
        address: Str,
        roles: Int<u16>,
        weight: Int<u32>,
        stake: Int<u64>,
        sequence: Int<u64>,
        hlc: Int<u64>,
        suite: Str,
        place: Option<&PlaceAttestation>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "node record: network")?;
        let (identity, place) = (identity.core(), place.map(PlaceAttestation::shared));
        long(py, || {
            let kem = identity.kem(Suite::named(&suite.0)?)?.public();
            let record = node::NodeRecord {
                network,
                node: identity.id(),
                region: Text::new("node record: region", region.0)?,
                domain: Text::new("node record: domain", domain.0)?,
                address: Text::new("node record: address", address.0)?,
                roles: node::check_roles(roles.0)?,
                weight: weight.0,
                stake: stake.0,
                sequence: sequence.0,
                hlc: hlc.0,
                kem: Bytes::new("node record: KEM key", kem.as_bytes().to_vec())?,
                place: match place {
                    Some(attestation) => Bytes::new("node record: place", wire::encode(&*attestation)?)?,
                    None => Bytes::default(),
                },
                ml_dsa: node::ml_dsa_digest(identity.ml_dsa()?.public().as_bytes()),
                signature: [0; SIGNATURE_LEN],
            };
            Self::wrap(record.sign(identity.signing())?)
        })
    }

    /// The attestation of the node's place; None if it has none. No signature in it is checked here, nor its grade known.
    #[getter]
    fn place(&self, py: Python<'_>) -> PyResult<Option<PlaceAttestation>> {
        short(py, || self.attested())
    }

    /// Checks the node's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the node's over this entry.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

record! {
    /// What nodes say to each other: a kind and some parts, each the encoding of a record or plain bytes.
    ///
    /// A message is not signed: what must be believed inside it is a signed record.
    ///
    /// Args:
    ///     kind: A short word of lower-case letters and underscores, 1 to 32.
    ///     parts: At most 65,536 byte strings, 256 MiB together.
    ///
    /// Raises:
    ///     InputError: Another kind of kind, or too much.
    ///
    /// Example:
    ///     >>> from city_chain.records import Message
    ///     >>> Message.from_bytes(Message("hold", [b"a", b""]).to_bytes()).parts
    ///     [b'a', b'']
    Message(model::Message) in "city_chain.records", work = |core| core.parts.iter().map(|part| part.len() + 16).sum();
    properties {
        /// What it is.
        kind: String = |core| core.kind.to_string();
        /// What it carries.
        parts: Vec<&[u8]> = |core| core.parts.iter().map(|part| &**part).collect();
    }
}

#[pymethods]
impl Message {
    #[new]
    fn new(py: Python<'_>, kind: Str, parts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut room = model::MESSAGE_MAX;
        let parts = items(parts, "message: parts", model::PARTS_MAX, |part| {
            let part = part.extract::<Input<'_>>()?;
            let had = model::MESSAGE_MAX - room;
            room = room.checked_sub(part.len()).ok_or_else(|| {
                let seen = had.saturating_add(part.len());
                crate::python::error::input(
                    py,
                    format!("message: {seen} bytes, at most {} are allowed", model::MESSAGE_MAX),
                )
            })?;
            Ok(part)
        })?;
        let slices: Vec<&[u8]> = parts.iter().map(Input::as_slice).collect();
        sized(py, model::MESSAGE_MAX - room, || {
            let owned = slices.iter().map(|part| Bytes::new("message: part", part.to_vec()));
            let parts = List::new("message: parts", owned.collect::<crate::error::Result<_>>()?)?;
            let message = model::Message { kind: Text::new("message: kind", kind.0)?, parts };
            crate::primitives::wire::Record::check(&message)?;
            Self::wrap(message)
        })
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NodeRecord>()?;
    module.add_class::<Message>()?;
    module.add("HOLDER", node::HOLDER)?;
    module.add("VALIDATOR", node::VALIDATOR)
}
