//! Where a node is, as far as anyone can say: its own claim, and what witnesses saw of it.
//!
//! A node signs a [`Claim`] over a nonce that the verifier gave it for this once. A witness, a node whose own place the
//! verifier knows, sends the subject a fresh challenge, takes the time until the signed echo is back, and signs a
//! [`Testimony`] of the claim with that time. Both together are an [`Attestation`]. Nobody states a grade: whoever wants to
//! know it computes it from these bytes ([`super::grading::Rules::grade`]).

use borsh::{BorshDeserialize, BorshSerialize};

use super::signed::{SIGNATURE_LEN, Signed, signed};
use super::{Key, NAME_MAX};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{Digest, Hasher, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::wire::{self, List, Record, Text};

/// The most testimonies of one attestation.
pub const TESTIMONIES_MAX: usize = 16;

const CONTEXT_ECHO: &str = "city-chain v1 place echo";

/// A point on the ground and the municipality that owns it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Spot {
    /// The municipality.
    pub municipality: Text<NAME_MAX>,
    /// Latitude in 1e-7 degrees.
    pub lat_e7: i32,
    /// Longitude in 1e-7 degrees.
    pub lon_e7: i32,
}

impl Spot {
    /// Checks that there is such a place.
    pub fn check(&self) -> Result<()> {
        if self.municipality.is_empty() {
            return Err(Error::input("place: the municipality must not be empty"));
        }
        if self.lat_e7.unsigned_abs() > 900_000_000 || self.lon_e7.unsigned_abs() > 1_800_000_000 {
            return Err(Error::input(format!(
                "place: no such place: {} (at most ±900000000), {} (at most ±1800000000), in 1e-7 degrees",
                self.lat_e7, self.lon_e7
            )));
        }
        Ok(())
    }
}

/// A node's signed word of where it is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The network.
    pub network: Digest,
    /// The epoch in which it is good.
    pub epoch: u64,
    /// Who claims.
    pub subject: Key,
    /// Where it says that it is.
    pub spot: Spot,
    /// What the verifier gave it, for this claim only.
    pub nonce: [u8; 32],
    /// The subject's clock.
    pub hlc: u64,
    /// The subject's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Claim {
    const TAG: [u8; 4] = *b"CCwc";
    const VERSION: u16 = 1;
    const NAME: &'static str = "place claim";
    const LEN_MAX: usize = 512;

    fn check(&self) -> Result<()> {
        self.spot.check()
    }
}

signed!(Claim, subject, "city-chain v1 place claim");

impl Claim {
    /// What the subject signs to answer a witness's challenge. The digest of the claim binds network and epoch.
    fn echo_message(&self, witness: &Key, challenge: &[u8; 32]) -> Result<Digest> {
        Ok(Hasher::new(CONTEXT_ECHO).fixed(&self.digest()?).fixed(witness).fixed(challenge).finish())
    }

    /// Answers a witness's challenge.
    ///
    /// # Errors
    /// [`Error::Input`] if the key is not the subject's.
    pub fn echo(&self, key: &SigningKey, witness: &Key, challenge: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN]> {
        if key.public() != self.subject {
            return Err(Error::input("place claim: the key is not the subject's"));
        }
        Ok(key.sign(&self.echo_message(witness, challenge)?))
    }

    /// Checks an answer to a challenge.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not the subject's answer to that challenge of that witness.
    pub fn verify_echo(&self, witness: &Key, challenge: &[u8; 32], echo: &[u8; SIGNATURE_LEN]) -> Result<()> {
        let message = self.echo_message(witness, challenge)?;
        crate::crypto::ed25519::verify(&self.subject, &message, echo)
            .map_err(|error| Error::verification(format!("place claim: the echo: {error}")))
    }
}

/// A witness's signed word about a claim.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Testimony {
    /// The digest of the claim, which binds subject, place, nonce, clock, network and epoch.
    pub claim: Digest,
    /// Who saw it.
    pub witness: Key,
    /// The time that an echo took, rounded up to microseconds; 0 if none was taken.
    pub rtt_us: u32,
    /// The witness's clock.
    pub hlc: u64,
    /// The witness's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Testimony {
    const TAG: [u8; 4] = *b"CCpw";
    const VERSION: u16 = 1;
    const NAME: &'static str = "place testimony";
    const LEN_MAX: usize = 256;
}

signed!(Testimony, witness, "city-chain v1 place testimony");

impl Testimony {
    /// A witness's word about `claim`, whose echo took `rtt_us` (0 if none was taken).
    ///
    /// # Errors
    /// [`Error::Input`] if the witness is the subject.
    pub fn new(key: &SigningKey, claim: &Claim, rtt_us: u32, hlc: u64) -> Result<Self> {
        if key.public() == claim.subject {
            return Err(Error::input("place testimony: nobody is a witness of his own claim"));
        }
        Self { claim: claim.digest()?, witness: key.public(), rtt_us, hlc, signature: [0; SIGNATURE_LEN] }.sign(key)
    }
}

/// A claim with its testimonies.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    /// The claim.
    pub claim: Claim,
    /// The testimonies, ascending and distinct by witness, none of them the subject's.
    pub testimonies: List<Testimony, TESTIMONIES_MAX>,
}

impl Record for Attestation {
    const TAG: [u8; 4] = *b"CCpa";
    const VERSION: u16 = 1;
    const NAME: &'static str = "place attestation";
    const LEN_MAX: usize = Claim::LEN_MAX + TESTIMONIES_MAX * Testimony::LEN_MAX;

    fn check(&self) -> Result<()> {
        self.claim.check()?;
        if !self.testimonies.windows(2).all(|pair| pair[0].witness < pair[1].witness) {
            return Err(Error::input("place attestation: the testimonies must be ascending and distinct by witness"));
        }
        if self.testimonies.iter().any(|testimony| testimony.witness == self.claim.subject) {
            return Err(Error::input("place attestation: nobody is a witness of his own claim"));
        }
        Ok(())
    }
}

impl Attestation {
    /// Puts it together, in any order.
    ///
    /// # Errors
    /// [`Error::Verification`] if a testimony is of another claim, [`Error::Input`] if there are too many or one twice.
    pub fn new(claim: Claim, mut testimonies: Vec<Testimony>) -> Result<Self> {
        let digest = claim.digest()?;
        if let Some(other) = testimonies.iter().find(|testimony| testimony.claim != digest) {
            return Err(Error::verification(format!(
                "place attestation: the testimony of {} is of another claim",
                hex(&other.witness)
            )));
        }
        testimonies.sort_by_key(|testimony| testimony.witness);
        let testimonies = List::new("place attestation: testimonies", testimonies)?;
        let made = Self { claim, testimonies };
        made.check()?;
        Ok(made)
    }

    /// What stands for it in a candidate list: the hash of its encoding, signatures and all.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Hasher::new("city-chain v1 place attestation").field(&wire::encode(self)?).finish())
    }

    /// Whether each testimony is signed by its witness and about this claim.
    pub(super) fn right(&self) -> Result<Vec<bool>> {
        let digest = self.claim.digest()?;
        let right = |testimony: &Testimony| {
            let message = testimony.digest()?;
            let signed = remembered::verify(&testimony.witness, &message, &testimony.signature).is_ok();
            Ok(signed && testimony.claim == digest)
        };
        self.testimonies.iter().map(right).collect()
    }
}
