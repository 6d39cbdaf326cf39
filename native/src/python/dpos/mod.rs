//! Bindings of Delegated Proof of Stake: delegates, leaders, votes and certificates here, the voting machine in [`delegate`].

mod delegate;

use pyo3::prelude::*;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::identity::Identity;
use super::int::Int;
use super::record::{MANY_MAX, Wrapper, check_tuple, digests, each, items, record};
use super::text::Str;
use crate::crypto::hash::{Digest, hex};
use crate::proofs::dpos as model;
use crate::proofs::dpos::VALIDATORS_MAX;

record! {
    /// The delegates of one epoch, each with stake.
    ///
    /// Args:
    ///     epoch: The epoch's number.
    ///     items: (public key, stake) each, 1 to 1,024, distinct, stake above 0; in any order.
    ///
    /// Raises:
    ///     InputError: A wrong length, nobody, too many, one twice, or a stake of 0.
    ///
    /// Example:
    ///     >>> from city_chain.proofs import dpos
    ///     >>> four = dpos.ValidatorSet(0, [(bytes([i]) * 32, 1) for i in range(4)])
    ///     >>> four.total, four.quorum, len(four), four.position(bytes(32))
    ///     (4, 3, 4, 0)
    ValidatorSet(model::ValidatorSet) in "city_chain.proofs.dpos",
        id = |core| Ok(core.root()), work = |core| core.items().len() * 40;
    properties {
        /// The epoch's number.
        epoch: u64 = |core| core.epoch();
        /// (public key, stake) each, ascending by key.
        items: Vec<(Digest, u64)> = |core| core.items().iter().map(|item| (item.key, item.stake)).collect();
        /// All stake, W.
        total: u128 = |core| core.total();
    }
}

#[pymethods]
impl ValidatorSet {
    #[new]
    fn new(py: Python<'_>, epoch: Int<u64>, items: &Bound<'_, PyAny>) -> PyResult<Self> {
        let items = read_stakes(items, "validator", VALIDATORS_MAX)?;
        sized(py, items.len() * 40, || Self::wrap(model::ValidatorSet::new(epoch.0, items)?))
    }

    /// The stake that decides: W − ⌊(W − 1)/3⌋.
    #[getter]
    fn quorum(&self, py: Python<'_>) -> PyResult<u128> {
        short(py, || self.core.quorum())
    }

    /// The digest that stands for the set, 32 bytes.
    #[getter]
    fn root(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// Where a key stands among the delegates.
    ///
    /// Args:
    ///     key: A public key, 32 bytes.
    ///
    /// Returns:
    ///     Its position, or None if it is not a delegate's.
    fn position(&self, py: Python<'_>, key: Input<'_>) -> PyResult<Option<usize>> {
        let key = key.digest(py, "validator set: key")?;
        short(py, || Ok(self.core.position(&key)))
    }

    fn __len__(&self) -> usize {
        self.core.items().len()
    }
}

fn read_stakes(iterable: &Bound<'_, PyAny>, what: &str, max: usize) -> PyResult<Vec<model::Validator>> {
    items(iterable, what, max, |item| {
        check_tuple(item, 2, what)?;
        let (key, stake): (Input<'_>, Int<u64>) = item.extract()?;
        Ok(model::Validator { key: key.digest(item.py(), what)?, stake: stake.0 })
    })
}

/// Elects an epoch's delegates; exact, and the result does not depend on the order of the input.
///
/// Every voter's stake counts for each candidate that it approves of, and a candidate's own stake for itself. By
/// "approval" those with the most stake behind them are elected: a majority can fill every seat. By "seq_phragmen"
/// (Phragmén's sequential rule, 1894) groups get seats by their share of the stake. Ties go by (own stake descending, key
/// ascending). Of several ballots of one voter the newest counts, and doubles in it once.
///
/// Args:
///     epoch: The number of the epoch that they are elected for.
///     stakes: (public key, stake) each: the snapshot at the epoch's boundary. Its keys are the candidates.
///     ballots: (voter, sequence, approved candidates) each.
///     seats: How many delegates, at most 1,024.
///     method: "approval" or "seq_phragmen".
///
/// Returns:
///     The delegates, each weighing its own stake and what was approved, by either method.
///
/// Raises:
///     InputError: A wrong length, an unknown voter or candidate, one twice, two ballots with one number, an unknown
///         method, more than 1,048,576 stakes or ballots or 16,777,216 approvals,
///         or by seq_phragmen more than 268,435,456 approvals times seats.
///     UnavailableError: No seats, or fewer candidates with stake than seats.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> a, b, c = (bytes([i]) * 32 for i in range(3))
///     >>> elected = dpos.elect(1, [(a, 5), (b, 3), (c, 2)], [(a, 0, [c])], 2)
///     >>> elected.items == [(a, 5), (c, 7)]
///     True
///     >>> ballots = [(a, 0, [b])]   # once `a` has `b`, its stake has borne its part: `c` is next
///     >>> [[key[0] for key, _ in dpos.elect(1, [(a, 5), (b, 1), (c, 4)], ballots, 2, method=method).items]
///     ...  for method in ("approval", "seq_phragmen")]
///     [[0, 1], [1, 2]]
#[pyfunction]
#[pyo3(
    signature = (epoch, stakes, ballots, seats, method = Str(String::from("approval"))),
    text_signature = "(epoch, stakes, ballots, seats, method='approval')"
)]
fn elect(
    py: Python<'_>,
    epoch: Int<u64>,
    stakes: &Bound<'_, PyAny>,
    ballots: &Bound<'_, PyAny>,
    seats: Int<usize>,
    method: Str,
) -> PyResult<ValidatorSet> {
    let method = short(py, || model::Method::named(&method.0))?;
    let stakes = read_stakes(stakes, "election: stake", MANY_MAX)?;
    let ballots = items(ballots, "election: ballots", MANY_MAX, |item| {
        check_tuple(item, 3, "election: ballot")?;
        let (voter, sequence, approves): (Input<'_>, Int<u64>, Bound<'_, PyAny>) = item.extract()?;
        Ok(model::Ballot {
            voter: voter.digest(py, "election: voter")?,
            sequence: sequence.0,
            approves: digests(&approves, "election: approved candidate", MANY_MAX)?,
        })
    })?;
    long(py, || ValidatorSet::wrap(model::elect(epoch.0, &stakes, &ballots, seats.0, method)?))
}

/// Who leads an attempt: a draw by stake from the epoch's seed, without modulo bias.
///
/// Args:
///     validators: The delegates.
///     seed: The epoch's seed, 32 bytes.
///     height: The place in the ledger.
///     attempt: Which attempt at that place, from 0.
///
/// Returns:
///     The leader's public key, 32 bytes.
///
/// Raises:
///     InputError: A wrong length, or a number that does not fit.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> one = dpos.ValidatorSet(0, [(bytes(32), 1)])
///     >>> dpos.leader(one, bytes(32), 1, 0) == bytes(32)
///     True
#[pyfunction]
fn leader(
    py: Python<'_>,
    validators: &ValidatorSet,
    seed: Input<'_>,
    height: Int<u64>,
    attempt: Int<u32>,
) -> PyResult<Digest> {
    let seed = seed.digest(py, "leader: seed")?;
    let validators = validators.core();
    sized(py, validators.items().len() * 16, || model::leader(validators, &seed, height.0, attempt.0))
}

/// Who leads at many heights, each as `leader` says.
///
/// Args:
///     validators: The delegates.
///     seed: The epoch's seed, 32 bytes.
///     heights: Places in the ledger, at most 1,048,576.
///     attempt: Which attempt at those places, from 0.
///
/// Returns:
///     The leaders' public keys, 32 bytes each, in order.
///
/// Raises:
///     InputError: A wrong length, or a number that does not fit.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> two = dpos.ValidatorSet(0, [(bytes(32), 1), (b"\x01" * 32, 3)])
///     >>> drawn = dpos.leaders(two, bytes(32), range(1, 1001))
///     >>> drawn[6] == dpos.leader(two, bytes(32), 7, 0), drawn.count(bytes(32))
///     (True, 259)
#[pyfunction]
#[pyo3(
    signature = (validators, seed, heights, attempt = Int(0)),
    text_signature = "(validators, seed, heights, attempt=0)"
)]
fn leaders(
    py: Python<'_>,
    validators: &ValidatorSet,
    seed: Input<'_>,
    heights: &Bound<'_, PyAny>,
    attempt: Int<u32>,
) -> PyResult<Vec<Digest>> {
    let seed = seed.digest(py, "leaders: seed")?;
    let heights = items(heights, "leaders: heights", MANY_MAX, |height| Ok(height.extract::<Int<u64>>()?.0))?;
    let validators = validators.core();
    let work = validators.items().len() * 16 + heights.len() * 200;
    sized(py, work, || model::leaders(validators, &seed, &heights, attempt.0))
}

/// What is voted on: one batch at one attempt. Compares by value.
///
/// Args:
///     network: The network's id, 32 bytes.
///     epoch: The epoch's number.
///     height: The batch's place in the ledger.
///     attempt: Which leader's attempt at that place, from 0.
///     previous: The digest of the batch before, 32 bytes.
///     digest: The digest of the batch, 32 bytes.
///
/// Raises:
///     InputError: A wrong length, or a number that does not fit.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> dpos.Slot(bytes(32), 0, 1, 0, bytes(32), bytes(32)).height
///     1
#[pyclass(frozen, module = "city_chain.proofs.dpos")]
pub(in crate::python) struct Slot {
    core: model::Slot,
}

impl Slot {
    /// The slot as a class.
    pub(in crate::python) fn wrap(core: model::Slot) -> Self {
        Self { core }
    }
}

#[pymethods]
impl Slot {
    #[new]
    fn new(
        py: Python<'_>,
        network: Input<'_>,
        epoch: Int<u64>,
        height: Int<u64>,
        attempt: Int<u32>,
        previous: Input<'_>,
        digest: Input<'_>,
    ) -> PyResult<Self> {
        Ok(Self {
            core: model::Slot {
                network: network.digest(py, "slot: network")?,
                epoch: epoch.0,
                height: height.0,
                attempt: attempt.0,
                previous: previous.digest(py, "slot: previous")?,
                digest: digest.digest(py, "slot: digest")?,
            },
        })
    }

    /// The network's id, 32 bytes.
    #[getter]
    fn network(&self) -> Digest {
        self.core.network
    }

    /// The epoch's number.
    #[getter]
    fn epoch(&self) -> u64 {
        self.core.epoch
    }

    /// The batch's place in the ledger.
    #[getter]
    fn height(&self) -> u64 {
        self.core.height
    }

    /// Which leader's attempt at that place.
    #[getter]
    fn attempt(&self) -> u32 {
        self.core.attempt
    }

    /// The digest of the batch before, 32 bytes.
    #[getter]
    fn previous(&self) -> Digest {
        self.core.previous
    }

    /// The digest of the batch, 32 bytes.
    #[getter]
    fn digest(&self) -> Digest {
        self.core.digest
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.core == other.get().core)
    }

    fn __hash__(&self) -> u64 {
        self.core.message()[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn __repr__(&self) -> String {
        let (height, attempt) = (self.core.height, self.core.attempt);
        format!("Slot(height {height}, attempt {attempt}, {}…)", hex(&self.core.digest[..4]))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let slot = &self.core;
        let values = (slot.network, slot.epoch, slot.height, slot.attempt, slot.previous, slot.digest);
        Ok((py.get_type::<Self>(), values).into_pyobject(py)?.into_any())
    }
}

record! {
    /// One delegate's signed vote.
    ///
    /// Args:
    ///     identity: The delegate.
    ///     slot: What for.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity
    ///     >>> from city_chain.proofs import dpos
    ///     >>> voter = Identity(bytes(32))
    ///     >>> dpos.Vote(voter, dpos.Slot(bytes(32), 0, 1, 0, bytes(32), bytes(32))).voter == voter.id
    ///     True
    Vote(model::Vote) in "city_chain.proofs.dpos";
    properties {
        /// What for.
        slot: Slot = |core| Slot { core: core.slot };
        /// Who, 32 bytes.
        voter: Digest = |core| core.voter;
    }
}

#[pymethods]
impl Vote {
    #[new]
    fn new(py: Python<'_>, identity: &Identity, slot: &Slot) -> PyResult<Self> {
        short(py, || Self::wrap(model::Vote::new(identity.core().signing(), slot.core)))
    }
}

record! {
    /// A stake-weighted quorum's votes for one batch. Made by `collect`.
    ///
    /// Example:
    ///     >>> certificate.verify(validators)
    ///     >>> certificate.positions
    ///     [0]
    Certificate(model::Certificate) in "city_chain.proofs.dpos", work = |core| core.signatures.len() * 66;
    properties {
        /// What was voted for.
        slot: Slot = |core| Slot { core: core.slot };
        /// Where the voters stand in the validator set, ascending.
        positions: Vec<u16> = |core| core.signatures.iter().map(|entry| entry.position).collect();
    }
}

#[pymethods]
impl Certificate {
    /// Checks that delegates with a quorum of the stake signed, and that every signature is right.
    ///
    /// Args:
    ///     validators: The epoch's delegates.
    ///
    /// Raises:
    ///     VerificationError: Another epoch, too little stake, an unknown delegate or a wrong signature.
    fn verify(&self, py: Python<'_>, validators: &ValidatorSet) -> PyResult<()> {
        long(py, || self.core.verify(validators.core()))
    }
}

/// Makes a certificate of votes. Those that are foreign, double or wrong are named and not counted.
///
/// Args:
///     validators: The epoch's delegates.
///     slot: What was voted on.
///     votes: At most 1,048,576.
///
/// Returns:
///     The certificate, and (position in `votes`, why) for each vote that does not count.
///
/// Raises:
///     UnavailableError: The stake that voted is below the quorum; says needed and had.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> made, refused = dpos.collect(validators, slot, votes + votes[:1])
///     >>> made == certificate, len(refused)
///     (True, 1)
#[pyfunction]
fn collect(
    py: Python<'_>,
    validators: &ValidatorSet,
    slot: &Slot,
    votes: &Bound<'_, PyAny>,
) -> PyResult<(Certificate, Vec<(usize, String)>)> {
    let votes = each(votes, "votes", MANY_MAX, |vote: &Vote| vote.core().clone())?;
    let validators = validators.core();
    long(py, || {
        let collected = model::collect(validators, &slot.core, &votes)?;
        Ok((Certificate::wrap(collected.certificate)?, collected.refused))
    })
}

/// Adds these files' functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ValidatorSet>()?;
    module.add_class::<Slot>()?;
    module.add_class::<Vote>()?;
    module.add_class::<Certificate>()?;
    module.add_function(wrap_pyfunction!(elect, module)?)?;
    module.add_function(wrap_pyfunction!(leader, module)?)?;
    module.add_function(wrap_pyfunction!(leaders, module)?)?;
    module.add_function(wrap_pyfunction!(collect, module)?)?;
    delegate::register(module)
}
