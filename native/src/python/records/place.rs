//! Bindings of what is known of places: claims, testimonies, attestations, the rules of grades, and anyone's check of a choice.

use pyo3::prelude::*;

use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record, Text};
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{Wrapper, check_tuple, each, items, record};
use crate::python::text::Str;
use crate::records::attestation::{self, Spot, TESTIMONIES_MAX};
use crate::records::choice;
use crate::records::grading::{self, EVENTS_MAX, GRADES, Moment, WITNESSES_MAX};
use crate::records::selection::{CANDIDATES_MAX, Candidates as Prepared};
use crate::records::signed::{SIGNATURE_LEN, Signed};

record! {
    /// A node's signed word of where it is, over a nonce that a verifier gave it for this once.
    ///
    /// Args:
    ///     identity: The node.
    ///     network: The network's id, 32 bytes.
    ///     epoch: The number of the epoch in which it is good.
    ///     municipality: The municipality that it says it is in, 1 to 64 bytes of UTF-8.
    ///     lat_e7: Latitude in 1e-7 degrees, -900,000,000 to 900,000,000.
    ///     lon_e7: Longitude in 1e-7 degrees, -1,800,000,000 to 1,800,000,000.
    ///     nonce: The 32 bytes that the verifier gave it.
    ///     hlc: The node's hybrid logical clock.
    ///
    /// Raises:
    ///     InputError: A wrong length, or no such place.
    ///
    /// Example:
    ///     >>> from city_chain.records import PlaceClaim
    ///     >>> claim = PlaceClaim(identity, network=epoch.network, epoch=0, municipality="Utrecht",
    ///     ...                    lat_e7=520_907_000, lon_e7=51_214_000, nonce=bytes(32), hlc=1 << 16)
    ///     >>> claim.verify()
    PlaceClaim(attestation::Claim) in "city_chain.records", id = Signed::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The number of the epoch in which it is good.
        epoch: u64 = |core| core.epoch;
        /// Who claims, 32 bytes.
        subject: Digest = |core| core.subject;
        /// The municipality.
        municipality: String = |core| core.spot.municipality.to_string();
        /// Latitude in 1e-7 degrees.
        lat_e7: i32 = |core| core.spot.lat_e7;
        /// Longitude in 1e-7 degrees.
        lon_e7: i32 = |core| core.spot.lon_e7;
        /// What the verifier gave the subject for this claim, 32 bytes.
        nonce: [u8; 32] = |core| core.nonce;
        /// The subject's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
    }
}

/// What the grades are worth unless it is said otherwise, in basis points.
const WORTH: [u32; GRADES] = [2_500, 5_000, 10_000, 20_000];

fn worth(given: &[u32]) -> Result<[u32; GRADES]> {
    let wrong = |_| Error::input(format!("place rules: grade_bp has {} values, {GRADES} are needed", given.len()));
    given.try_into().map_err(wrong)
}

fn spot(municipality: Str, lat_e7: i32, lon_e7: i32) -> Result<Spot> {
    let spot = Spot { municipality: Text::new("place: municipality", municipality.0)?, lat_e7, lon_e7 };
    spot.check()?;
    Ok(spot)
}

#[pymethods]
impl PlaceClaim {
    #[new]
    #[pyo3(signature = (identity, *, network, epoch, municipality, lat_e7, lon_e7, nonce, hlc))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        epoch: Int<u64>,
        municipality: Str,
        lat_e7: Int<i32>,
        lon_e7: Int<i32>,
        nonce: Input<'_>,
        hlc: Int<u64>,
    ) -> PyResult<Self> {
        let (network, nonce) = (network.digest(py, "place claim: network")?, nonce.digest(py, "place claim: nonce")?);
        let identity = identity.core();
        long(py, || {
            let claim = attestation::Claim {
                network,
                epoch: epoch.0,
                subject: identity.id(),
                spot: spot(municipality, lat_e7.0, lon_e7.0)?,
                nonce,
                hlc: hlc.0,
                signature: [0; SIGNATURE_LEN],
            };
            Self::wrap(claim.sign(identity.signing())?)
        })
    }

    /// Checks the subject's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the subject's over this claim.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }

    /// Answers a witness's challenge: 64 bytes, a signature.
    ///
    /// Args:
    ///     identity: The subject.
    ///     witness: The witness's id, 32 bytes.
    ///     challenge: The witness's challenge, 32 bytes.
    ///
    /// Raises:
    ///     InputError: A wrong length, or the identity is not the subject.
    ///
    /// Example:
    ///     >>> claim.verify_echo(holders[0].id, bytes(32), claim.echo(identity, holders[0].id, bytes(32)))
    fn echo(
        &self,
        py: Python<'_>,
        identity: &Identity,
        witness: Input<'_>,
        challenge: Input<'_>,
    ) -> PyResult<[u8; SIGNATURE_LEN]> {
        let (witness, challenge) =
            (witness.digest(py, "place echo: witness")?, challenge.digest(py, "place echo: challenge")?);
        let identity = identity.core();
        long(py, || self.core.echo(identity.signing(), &witness, &challenge))
    }

    /// Checks the answer to a challenge.
    ///
    /// Args:
    ///     witness: The id of the witness who challenged, 32 bytes.
    ///     challenge: What it challenged with, 32 bytes.
    ///     echo: The answer, 64 bytes.
    ///
    /// Raises:
    ///     VerificationError: It is not the subject's answer to that challenge.
    ///     InputError: A wrong length.
    fn verify_echo(&self, py: Python<'_>, witness: Input<'_>, challenge: Input<'_>, echo: Input<'_>) -> PyResult<()> {
        let (witness, challenge) =
            (witness.digest(py, "place echo: witness")?, challenge.digest(py, "place echo: challenge")?);
        let echo = echo.array::<SIGNATURE_LEN>(py, "place echo: signature")?;
        long(py, || self.core.verify_echo(&witness, &challenge, &echo))
    }
}

record! {
    /// A witness's signed word about a claim, with the time that an echo took.
    ///
    /// Args:
    ///     identity: The witness.
    ///     claim: The claim.
    ///     rtt_us: How long the echo took, rounded up to microseconds; 0 if none was taken.
    ///     hlc: The witness's hybrid logical clock.
    ///
    /// Raises:
    ///     InputError: The witness is the subject.
    ///
    /// Example:
    ///     >>> from city_chain.records import PlaceTestimony
    ///     >>> testimony = PlaceTestimony(holders[0], claim, 400, 2 << 16)
    ///     >>> testimony.verify()
    PlaceTestimony(attestation::Testimony) in "city_chain.records", id = Signed::digest;
    properties {
        /// The digest of the claim, 32 bytes.
        claim: Digest = |core| core.claim;
        /// Who saw it, 32 bytes.
        witness: Digest = |core| core.witness;
        /// How long the echo took, microseconds; 0 if none was taken.
        rtt_us: u32 = |core| core.rtt_us;
        /// The witness's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
    }
}

#[pymethods]
impl PlaceTestimony {
    #[new]
    fn new(py: Python<'_>, identity: &Identity, claim: &PlaceClaim, rtt_us: Int<u32>, hlc: Int<u64>) -> PyResult<Self> {
        let (identity, claim) = (identity.core(), claim.core());
        long(py, || Self::wrap(attestation::Testimony::new(identity.signing(), claim, rtt_us.0, hlc.0)?))
    }

    /// Checks the witness's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the witness's over this testimony.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

record! {
    /// A claim of place with the testimonies of its witnesses. It has no grade: `PlaceRules.grade` computes one.
    ///
    /// Args:
    ///     claim: The claim.
    ///     testimonies: At most 16, in any order, distinct by witness.
    ///
    /// Raises:
    ///     VerificationError: A testimony is of another claim.
    ///     InputError: A witness twice, too many, or the subject among them.
    ///
    /// Example:
    ///     >>> from city_chain.records import PlaceAttestation
    ///     >>> attestation = PlaceAttestation(claim, [testimony])
    ///     >>> PlaceAttestation.from_bytes(attestation.to_bytes()) == attestation
    ///     True
    PlaceAttestation(attestation::Attestation) in "city_chain.records", id = attestation::Attestation::digest;
    parts {
        /// The claim.
        claim: PlaceClaim;
    }
    properties {}
}

#[pymethods]
impl PlaceAttestation {
    #[new]
    fn new(py: Python<'_>, claim: &PlaceClaim, testimonies: &Bound<'_, PyAny>) -> PyResult<Self> {
        let given = each(testimonies, "place attestation: testimonies", TESTIMONIES_MAX, |one: &PlaceTestimony| {
            one.core().clone()
        })?;
        let claim = claim.core().clone();
        short(py, || Self::wrap(attestation::Attestation::new(claim, given)?))
    }

    /// The testimonies, ascending by witness.
    #[getter]
    fn testimonies(&self, py: Python<'_>) -> PyResult<Vec<PlaceTestimony>> {
        short(py, || self.core.testimonies.iter().cloned().map(PlaceTestimony::wrap).collect())
    }

    /// What stands for it in a candidate list, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

record! {
    /// What a verifier of places goes by: whom it believes as witnesses, what a grade needs, and what it is worth.
    ///
    /// Multipliers are in basis points: 10,000 is once, 1,000,000 the most. A node's weight is its capacity times what its
    /// grade is worth and, from grade 2 on, times `home_bp` in the home municipality and times the multipliers of all
    /// events that are on there, in their order; each step is rounded down.
    ///
    /// Args:
    ///     home: The municipality whose nodes count as near.
    ///     home_bp: What is near counts so much more.
    ///     grade_bp: What the grades 0, 1, 2 and 3 are worth; it must not fall.
    ///     grade_min: Nodes under this grade are not chosen, 0 to 3.
    ///     needed: How many witnesses make grade 2, and how many near ones grade 3, 1 to 16.
    ///     rtt_us_max: How long an echo may take for a witness to count as near, microseconds; 1,000 is 150 km.
    ///     age_ms_max: How old claims and testimonies may be, milliseconds.
    ///     witnesses: (node, municipality, lat_e7, lon_e7) of the nodes whose places are known, at most 256.
    ///     events: (municipality, multiplier, from, until) each, in UTC epoch milliseconds, at most 256.
    ///
    /// Raises:
    ///     InputError: A value is out of range, a witness twice, or an event that does not last.
    ///
    /// Example:
    ///     >>> from city_chain.records import PlaceRules
    ///     >>> rules = PlaceRules("Utrecht", needed=1, witnesses=[(holders[0].id, "Utrecht", 520_907_000, 51_214_000)])
    ///     >>> grade, findings = rules.grade(attestation, network=epoch.network, epoch=0, at_ms=1_000)
    ///     >>> grade, [finding for _, finding in findings]
    ///     (3, ['near'])
    PlaceRules(grading::Rules) in "city_chain.records", work = |core| (core.witnesses.len() + core.events.len()) * 128;
    properties {
        /// The municipality whose nodes count as near.
        home: String = |core| core.home.to_string();
        /// What is near counts so much more, basis points.
        home_bp: u32 = |core| core.home_bp;
        /// What the grades 0 to 3 are worth, basis points.
        grade_bp: Vec<u32> = |core| core.grade_bp.to_vec();
        /// Nodes under this grade are not chosen.
        grade_min: u8 = |core| core.grade_min;
        /// How many witnesses make grade 2, and how many near ones grade 3.
        needed: u8 = |core| core.needed;
        /// How long an echo may take for a witness to count as near, microseconds.
        rtt_us_max: u32 = |core| core.rtt_us_max;
        /// How old claims and testimonies may be, milliseconds.
        age_ms_max: u64 = |core| core.age_ms_max;
        /// (node, municipality, lat_e7, lon_e7) of the nodes whose places are known, ascending by node.
        witnesses: Vec<(Digest, String, i32, i32)> = |core| {
            let row = |known: &grading::Witness| {
                (known.node, known.spot.municipality.to_string(), known.spot.lat_e7, known.spot.lon_e7)
            };
            core.witnesses.iter().map(row).collect()
        };
        /// (municipality, multiplier, from, until) of each event.
        events: Vec<(String, u32, u64, u64)> = |core| {
            let row = |one: &grading::Event| (one.municipality.to_string(), one.multiplier_bp, one.from_ms, one.until_ms);
            core.events.iter().map(row).collect()
        };
    }
}

#[pymethods]
impl PlaceRules {
    #[new]
    #[pyo3(signature = (home, *, home_bp = Int(10_000), grade_bp = None,
        grade_min = Int(0), needed = Int(2), rtt_us_max = Int(1_000), age_ms_max = Int(86_400_000), witnesses = None,
        events = None))]
    #[pyo3(text_signature = "(home, *, home_bp=10000, grade_bp=(2500, 5000, 10000, 20000), grade_min=0, needed=2, \
        rtt_us_max=1000, age_ms_max=86400000, witnesses=(), events=())")]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        home: Str,
        home_bp: Int<u32>,
        grade_bp: Option<&Bound<'_, PyAny>>,
        grade_min: Int<u16>,
        needed: Int<u16>,
        rtt_us_max: Int<u32>,
        age_ms_max: Int<u64>,
        witnesses: Option<&Bound<'_, PyAny>>,
        events: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let grade_bp = grade_bp.map_or(Ok(WORTH.to_vec()), |given| {
            items(given, "place rules: grade_bp", GRADES, |item| Ok(item.extract::<Int<u32>>()?.0))
        })?;
        let witnesses = witnesses.map_or(Ok(Vec::new()), |given| {
            items(given, "place rules: witnesses", WITNESSES_MAX, |item| {
                check_tuple(item, 4, "witness")?;
                let (node, of, lat, lon): (Input<'_>, Str, Int<i32>, Int<i32>) = item.extract()?;
                let node = node.digest(py, "witness: node")?;
                short(py, || Ok(grading::Witness { node, spot: spot(of, lat.0, lon.0)? }))
            })
        })?;
        let events = events.map_or(Ok(Vec::new()), |given| {
            items(given, "place rules: events", EVENTS_MAX, |item| {
                check_tuple(item, 4, "event")?;
                let (of, bp, from, until): (Str, Int<u32>, Int<u64>, Int<u64>) = item.extract()?;
                short(py, || {
                    let municipality = Text::new("event: municipality", of.0)?;
                    Ok(grading::Event { municipality, multiplier_bp: bp.0, from_ms: from.0, until_ms: until.0 })
                })
            })
        })?;
        short(py, || {
            let mut witnesses = witnesses;
            witnesses.sort_by_key(|known| known.node);
            let rules = grading::Rules {
                home: Text::new("place rules: home", home.0)?,
                home_bp: home_bp.0,
                grade_bp: worth(&grade_bp)?,
                grade_min: u8::try_from(grade_min.0).unwrap_or(u8::MAX),
                needed: u8::try_from(needed.0).unwrap_or(u8::MAX),
                rtt_us_max: rtt_us_max.0,
                age_ms_max: age_ms_max.0,
                witnesses: List::new("place rules: witnesses", witnesses)?,
                events: List::new("place rules: events", events)?,
            };
            rules.check()?;
            Self::wrap(rules)
        })
    }

    /// The grade of an attestation, and what became of each testimony.
    ///
    /// A testimony is ``near`` or ``seen`` where it counts, and else ``unknown`` (its witness is none of these rules),
    /// ``stale``, ``forged``, or ``contradicted``: light is not as fast as its echo would have been from the place that is
    /// claimed. Whether the nonce was used before, only the verifier knows who gave it.
    ///
    /// Args:
    ///     attestation: What is graded.
    ///     network: The network it must be of, 32 bytes.
    ///     epoch: The number of the epoch it must be of.
    ///     at_ms: The verifier's clock, UTC epoch milliseconds.
    ///
    /// Returns:
    ///     The grade, 0 to 3, and (witness, finding) of each testimony.
    ///
    /// Raises:
    ///     VerificationError: The claim is of another network or epoch, or not signed by its subject.
    #[pyo3(signature = (attestation, *, network, epoch, at_ms))]
    fn grade(
        &self,
        py: Python<'_>,
        attestation: &PlaceAttestation,
        network: Input<'_>,
        epoch: Int<u64>,
        at_ms: Int<u64>,
    ) -> PyResult<(u8, Vec<(Digest, &'static str)>)> {
        let moment = Moment { network: network.digest(py, "place: network")?, epoch: epoch.0, at_ms: at_ms.0 };
        let attestation = attestation.core();
        let graded = long(py, || self.core.grade(attestation, &moment))?;
        Ok((graded.grade, graded.findings.into_iter().map(|(node, finding)| (node, finding.name())).collect()))
    }

    /// The weight of a node by its capacity, municipality and grade.
    ///
    /// Args:
    ///     capacity: What it can take, in 1/65536.
    ///     municipality: Where it is.
    ///     grade: How sure that is, 0 to 3.
    ///     at_ms: When, UTC epoch milliseconds.
    ///
    /// Raises:
    ///     InputError: There is no such grade, or the weight does not fit into 32 bits.
    ///
    /// Example:
    ///     >>> rules.weight(65536, "Utrecht", 0, 0), rules.weight(65536, "Utrecht", 3, 0)
    ///     (16384, 131072)
    fn weight(
        &self,
        py: Python<'_>,
        capacity: Int<u32>,
        municipality: Str,
        grade: Int<u16>,
        at_ms: Int<u64>,
    ) -> PyResult<u32> {
        let grade = u8::try_from(grade.0).unwrap_or(u8::MAX);
        short(py, || self.core.weight(capacity.0, &municipality.0, grade, at_ms.0))
    }
}

/// A chosen node: (id, failure domain, weight, municipality, grade).
type Row = (Digest, String, u32, String, u8);

/// Computes the whole choice of a manifest's nodes again, from bytes alone.
///
/// What is checked: the sender's signature of the manifest, the proof of the draw for the epoch, the root of the candidate
/// list, every weight in it, the nodes in their order and their grades; with attestations also the grades of their
/// subjects. Whether the epoch is one to believe (`Trust`), or somebody is missing on the list, these bytes do not say.
///
/// Args:
///     manifest: `Manifest.to_bytes()`.
///     candidates: `Candidates.to_bytes()` of the list that it was drawn from.
///     epoch: `Epoch.to_bytes()`.
///     attestations: `PlaceAttestation.to_bytes()` of some candidates, in any order, at most 65,536.
///
/// Returns:
///     (node, failure domain, weight, municipality, grade) of every chosen node: the holders in order, then the spares.
///     Where places did not count, the municipality is empty and the grade 0.
///
/// Raises:
///     VerificationError: The first thing that differs.
///     InputError: The bytes are not of such records.
///
/// Example:
///     >>> from city_chain.records import verify_selection
///     >>> found = verify_selection(manifest.to_bytes(), candidates.to_bytes(), epoch.to_bytes())
///     >>> [node for node, domain, weight, municipality, grade in found] == selection.nodes
///     True
#[pyfunction]
#[pyo3(signature = (manifest, candidates, epoch, attestations = None),
    text_signature = "(manifest, candidates, epoch, attestations=())")]
fn verify_selection(
    py: Python<'_>,
    manifest: Input<'_>,
    candidates: Input<'_>,
    epoch: Input<'_>,
    attestations: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<Row>> {
    use crate::primitives::wire::decode;
    let given = attestations.map_or(Ok(Vec::new()), |given| {
        items(given, "attestations", CANDIDATES_MAX, |item| {
            let bytes: Input<'_> = item.extract()?;
            short(py, || decode::<attestation::Attestation>(bytes.as_slice()))
        })
    })?;
    let (manifest, candidates, epoch) = (manifest.as_slice(), candidates.as_slice(), epoch.as_slice());
    let chosen = long(py, || {
        let prepared = Prepared::new(decode(candidates)?)?;
        choice::verify_selection(&decode(manifest)?, &prepared, &decode(epoch)?, &given)
    })?;
    Ok(chosen.into_iter().map(|of| (of.node, of.domain, of.weight, of.municipality, of.grade)).collect())
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PlaceClaim>()?;
    module.add_class::<PlaceTestimony>()?;
    module.add_class::<PlaceAttestation>()?;
    module.add_class::<PlaceRules>()?;
    module.add_function(wrap_pyfunction!(verify_selection, module)?)
}
