//! Binding of letters: bytes from one party to another that nobody else can have said.

use pyo3::prelude::*;

use crate::crypto::hash::Digest;
use crate::primitives::wire::{Bytes, List};
use crate::python::buffer::Input;
use crate::python::call::long;
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{Wrapper, items, record};
use crate::records::letter as model;
use crate::records::signed::{SIGNATURE_LEN, Signed};

record! {
    /// Bytes from one party to another, so signed that nobody else can say them, to nobody else, or once more.
    ///
    /// The receiver has given out a challenge, 32 random bytes of its own, and takes each number of a sender once under it.
    /// The answer to a letter is a letter back with the same challenge and number: the receiver has had it.
    ///
    /// Args:
    ///     identity: Who says it.
    ///     network: The network's id, 32 bytes.
    ///     receiver: To whom: an identity's id, 32 bytes.
    ///     challenge: The receiver's challenge; in an answer the sender's own. 32 bytes.
    ///     number: Which of the letters under the challenge it is, or is the answer to: 0 to 2⁶⁴ − 1.
    ///     bodies: What is said: at most 256 byte strings of at most 128 KiB, just under 1 MiB together.
    ///     answer: Whether it is an answer.
    ///
    /// Raises:
    ///     InputError: A wrong length, or too much.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity, Letter
    ///     >>> north, south = Identity(bytes(32)), Identity(bytes(31) + b"1")
    ///     >>> letter = Letter(north, network=bytes(32), receiver=south.id, challenge=bytes(32), number=1, bodies=[b"hello"])
    ///     >>> letter.verify()
    ///     >>> letter.sender == north.id, letter.bodies
    ///     (True, [b'hello'])
    ///
    /// Source:
    ///     Needham and Schroeder, "Using encryption for authentication in large networks of computers" (CACM 1978): that a
    ///     message is fresh is shown by a nonce of who receives it.
    Letter(model::Letter) in "city_chain.records", id = Signed::digest, keeps = true;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// Who says it, 32 bytes.
        sender: Digest = |core| core.sender;
        /// To whom, 32 bytes.
        receiver: Digest = |core| core.receiver;
        /// The challenge, 32 bytes.
        challenge: Digest = |core| core.challenge;
        /// Which of the letters under the challenge it is, or is the answer to.
        number: u64 = |core| core.number;
        /// Whether it is an answer.
        answer: bool = |core| core.answer;
        /// What is said.
        bodies: Vec<&[u8]> = |core| core.bodies.iter().map(|body| &**body).collect();
    }
}

#[pymethods]
impl Letter {
    #[new]
    #[pyo3(signature = (identity, *, network, receiver, challenge, number, bodies, answer = false))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        receiver: Input<'_>,
        challenge: Input<'_>,
        number: Int<u64>,
        bodies: &Bound<'_, PyAny>,
        answer: bool,
    ) -> PyResult<Self> {
        let network = network.digest(py, "letter: network")?;
        let receiver = receiver.digest(py, "letter: receiver")?;
        let challenge = challenge.digest(py, "letter: challenge")?;
        let bodies = items(bodies, "letter: bodies", model::BODIES_MAX, |body| body.extract::<Input<'_>>())?;
        let slices: Vec<&[u8]> = bodies.iter().map(Input::as_slice).collect();
        let identity = identity.core();
        long(py, || {
            let owned = slices.iter().map(|body| Bytes::new("letter: body", body.to_vec()));
            let letter = model::Letter {
                network,
                sender: identity.id(),
                receiver,
                challenge,
                number: number.0,
                answer,
                bodies: List::new("letter: bodies", owned.collect::<crate::error::Result<_>>()?)?,
                signature: [0; SIGNATURE_LEN],
            };
            Self::wrap(letter.sign(identity.signing())?)
        })
    }

    /// Checks the sender's signature. Whether it is for the caller, and new, is the caller's to look at.
    ///
    /// Raises:
    ///     VerificationError: It is not the sender's over this letter.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

/// Adds this file's class to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Letter>()
}
