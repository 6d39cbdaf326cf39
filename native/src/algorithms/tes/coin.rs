//! The common coin: for every name one bit that all parties see alike and nobody knows before enough of them show shares
//! (Cachin, Kursawe, Shoup, "Random oracles in Constantinople", PODC 2000, section 4.3).
//!
//! The name ([`Name`]: chain, epoch, instance, round) is hashed to a point P of ristretto255; a party's share is xᵢ·P with
//! a proof ([`super::dleq`]); any `threshold` of them give x·P by interpolation in the exponent, and its hash is the value.
//! With more than f parties needed (threshold f + 1) f faulty ones know nothing in advance, and cannot choose: x·P is the
//! same whoever takes part.
//!
//! [`Coin`] has two makers: [`RistrettoCoin`], and [`BlsCoin`], where x·P is the group's one BLS signature of the name:
//! slower, but the value can be checked by whoever has the group's key alone. The two never agree but by chance.
//!
//! Where this differs from the paper: shares carry their commitments, challenges have 128 bits, and the value is 32 bytes
//! of which the bit is one.

use std::collections::HashSet;

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;

use super::bls;
use super::dleq::{self, Domain, Subject, Verifier};
use super::polynomial::lagrange_at_zero;
use super::share::{BlsKeys, CoinKeys, GroupKey, INDEX_LEN, PublicShare, SecretShare};
use crate::crypto::hash::{Digest, Hasher, digest};
use crate::crypto::typed::Kind;
use crate::error::{Error, Result};

/// Bytes of a share of [`RistrettoCoin`].
pub const SHARE_LEN: usize = dleq::SHARE_LEN;

const CONTEXT_POINT: &str = "city-chain v1 coin point";
const CONTEXT_BINDING: &str = "city-chain v1 coin share";
const CONTEXT_VALUE: &str = "city-chain v1 coin value";
const CONTEXT_BLS_NAME: &str = "city-chain v1 coin bls name";
const CONTEXT_BLS_VALUE: &str = "city-chain v1 coin bls value";

/// In front of what is signed, so that no signature of anything else is a coin.
const BLS_TAG: &[u8; 16] = b"city-chain coin\x01";

static DOMAIN: Domain = Domain {
    name: "coin",
    share: "coin share",
    challenge: "city-chain v1 coin share challenge",
    nonce: "city-chain v1 coin share nonce",
    batch: "city-chain v1 coin share batch",
};

/// Which coin is tossed. A name is tossed once: its value never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    /// The chain's id.
    pub chain: &'a [u8],
    /// The epoch.
    pub epoch: u64,
    /// What the coin is for: the id of one agreement.
    pub instance: &'a [u8],
    /// The round within it.
    pub round: u64,
}

impl Name<'_> {
    /// A hash of the whole name; each part of varying length has its length in front.
    fn hasher(&self, context: &'static str) -> Hasher {
        let mut hasher = Hasher::new(context);
        hasher.field(self.chain).u64(self.epoch).field(self.instance).u64(self.round);
        hasher
    }
}

/// What a coin shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toss {
    /// 32 uniform bytes.
    pub value: Digest,
}

impl Toss {
    /// The bit: the lowest of the value's first byte.
    pub fn bit(&self) -> bool {
        self.value[0] & 1 == 1
    }
}

/// A coin of a group of parties, whose keys it has.
pub trait Coin: Send + Sync {
    /// What the holder of a secret share shows for a name.
    ///
    /// # Errors
    /// [`Error::Input`] if the secret share is of another scheme; [`Error::Unavailable`] if the operating system gives no
    /// randomness.
    fn share(&self, secret: &SecretShare, name: &Name<'_>) -> Result<Vec<u8>>;

    /// Checks a share against the public share of the party that it says it is of.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is wrong; [`Error::Input`] if it has another length or is of no party.
    fn verify_share(&self, name: &Name<'_>, share: &[u8]) -> Result<()>;

    /// Checks many shares together; a verdict for each.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the operating system gives no randomness.
    fn verify_shares(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Vec<Result<()>>>;

    /// What the coin shows, from the shares of as many parties as the threshold; they are checked, and wrong ones left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if too few are right, with the indices of the wrong ones; [`Error::Input`] if an index is 0,
    /// of no party or twice there, or a share has another length.
    fn combine(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Toss>;
}

/// The coin on ristretto255.
#[derive(Debug)]
pub struct RistrettoCoin {
    threshold: u16,
    /// By index from 1 on; as typed bytes too, which is how they came.
    public_shares: Vec<Vec<u8>>,
    verifiers: Vec<Verifier>,
}

impl RistrettoCoin {
    /// The coin of a group: its key, and the public shares of all parties by index from 1 on.
    ///
    /// # Errors
    /// [`Error::Input`] if a key is of another kind, stands out of order, or a number is out of range;
    /// [`Error::Verification`] if the first `threshold` public shares are not of the group's key.
    pub fn new<P: AsRef<[u8]>>(threshold: u16, group: &GroupKey<CoinKeys>, public_shares: &[P]) -> Result<Self> {
        dleq::check::<CoinKeys, _, &[u8]>(&DOMAIN, threshold, public_shares, &[])?;
        let numbered = (1..).zip(public_shares);
        let verifiers = numbered.map(|(index, share)| Verifier::new::<CoinKeys>(index, share.as_ref()));
        let verifiers = verifiers.collect::<Result<Vec<_>>>()?;
        let weights = lagrange_at_zero(&(1..=threshold).collect::<Vec<u16>>())?;
        let points = verifiers[..usize::from(threshold)].iter().map(Verifier::point);
        if RistrettoPoint::vartime_multiscalar_mul::<Vec<curve25519_dalek::Scalar>, _>(weights, points)
            != *group.point()
        {
            return Err(not_of_the_key());
        }
        let public_shares = public_shares.iter().map(|share| share.as_ref().to_vec()).collect();
        Ok(Self { threshold, public_shares, verifiers })
    }

    fn subject(name: &Name<'_>) -> Subject {
        let mut uniform = [0; 64];
        name.hasher(CONTEXT_POINT).fill(&mut uniform);
        let base = RistrettoPoint::from_uniform_bytes(&uniform);
        Subject { domain: &DOMAIN, binding: name.hasher(CONTEXT_BINDING).finish(), base }
    }

    fn verifier(&self, index: u16) -> Result<Verifier> {
        let none = || Error::input(format!("coin: index {index}: there are {} parties", self.verifiers.len()));
        self.verifiers.get(usize::from(index).wrapping_sub(1)).copied().ok_or_else(none)
    }
}

impl Coin for RistrettoCoin {
    fn share(&self, secret: &SecretShare, name: &Name<'_>) -> Result<Vec<u8>> {
        let scalar = secret.scalar::<CoinKeys>()?;
        Ok(Self::subject(name).share(secret.index(), &scalar)?.to_vec())
    }

    fn verify_share(&self, name: &Name<'_>, share: &[u8]) -> Result<()> {
        let share = DOMAIN.parse(share)?;
        Self::subject(name).verify(&self.verifier(share.index())?, &share)
    }

    fn verify_shares(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Vec<Result<()>>> {
        dleq::verdicts(&Self::subject(name), |index| self.verifier(index), shares)
    }

    fn combine(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Toss> {
        dleq::check::<CoinKeys, _, _>(&DOMAIN, self.threshold, &self.public_shares, shares)?;
        let verifier = |index| self.verifier(index);
        let good = Self::subject(name).first_good(usize::from(self.threshold), shares, verifier)?;
        Ok(Toss { value: digest(CONTEXT_VALUE, dleq::interpolate(&good)?.compress().as_bytes()) })
    }
}

/// The coin of BLS signatures.
#[derive(Debug)]
pub struct BlsCoin {
    threshold: u16,
    group: GroupKey<BlsKeys>,
    public_shares: Vec<PublicShare<BlsKeys>>,
}

impl BlsCoin {
    /// The coin of a group: its key, and the public shares of all parties by index from 1 on.
    ///
    /// # Errors
    /// [`Error::Input`] if a key is of another kind, stands out of order, or a number is out of range.
    pub fn new<P: AsRef<[u8]>>(threshold: u16, group: &GroupKey<BlsKeys>, public_shares: &[P]) -> Result<Self> {
        dleq::check::<BlsKeys, _, &[u8]>(&DOMAIN, threshold, public_shares, &[])?;
        let encoded: Vec<&[u8]> = public_shares.iter().map(AsRef::as_ref).collect();
        let public_shares = bls::public_shares(&encoded)?;
        if let Some((needed, found)) = (1..).zip(&public_shares).find(|(needed, share)| share.index() != *needed) {
            let found = found.index();
            let what = format!("coin: the public share of index {found} stands where that of index {needed} is needed");
            return Err(Error::input(what));
        }
        Ok(Self { threshold, group: *group, public_shares })
    }

    /// What a party signs with its share of the group's key: that signature is its share of the coin.
    pub fn message(name: &Name<'_>) -> Vec<u8> {
        [&BLS_TAG[..], &name.hasher(CONTEXT_BLS_NAME).finish()].concat()
    }

    /// What the signature of a name shows, for whoever has the group's key and no shares.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not the group's signature of the name.
    pub fn toss_of(&self, name: &Name<'_>, signature: &[u8]) -> Result<Toss> {
        bls::verify(&self.group, &Self::message(name), signature)?;
        Ok(Toss { value: digest(CONTEXT_BLS_VALUE, signature) })
    }
}

impl Coin for BlsCoin {
    fn share(&self, secret: &SecretShare, name: &Name<'_>) -> Result<Vec<u8>> {
        Ok(bls::sign_share(secret, &Self::message(name))?.to_vec())
    }

    fn verify_share(&self, name: &Name<'_>, share: &[u8]) -> Result<()> {
        self.verify_shares(name, &[share])?.pop().unwrap_or(Ok(()))
    }

    fn verify_shares(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Vec<Result<()>>> {
        // What is malformed, or the second of one party, must not spoil the verdicts of the others: it stands alone.
        let message = Self::message(name);
        let mut seen = HashSet::new();
        let mut is_fresh = |share: &[u8]| {
            share.len() == bls::SHARE_LEN
                && share[..INDEX_LEN] != [0; INDEX_LEN]
                && seen.insert(share[..INDEX_LEN].to_vec())
        };
        let (together, alone): (Vec<_>, Vec<_>) =
            shares.iter().copied().enumerate().partition(|(_, share)| is_fresh(share));
        let slices: Vec<&[u8]> = together.iter().map(|(_, share)| *share).collect();
        let mut verdicts = vec![Ok(()); shares.len()];
        for ((at, _), verdict) in together.iter().zip(bls::verify_shares(&self.public_shares, &message, &slices)?) {
            verdicts[*at] = verdict;
        }
        for (at, share) in alone {
            let verdict = bls::verify_shares(&self.public_shares, &message, &[share]);
            verdicts[at] = verdict.and_then(|mut verdicts| verdicts.pop().unwrap_or(Ok(())));
        }
        Ok(verdicts)
    }

    fn combine(&self, name: &Name<'_>, shares: &[&[u8]]) -> Result<Toss> {
        let combined = bls::combine(&self.group, self.threshold, &self.public_shares, shares, &Self::message(name))?;
        Ok(Toss { value: digest(CONTEXT_BLS_VALUE, &combined.signature) })
    }
}

/// The coin of a group, by the kind of its key: [`RistrettoCoin`] or [`BlsCoin`].
///
/// # Errors
/// As those have it; [`Error::Input`] if the group's key is of neither kind.
pub fn coin_of<P: AsRef<[u8]>>(threshold: u16, group: &[u8], public_shares: &[P]) -> Result<Box<dyn Coin>> {
    match Kind::of(group) {
        Some(Kind::BlsPublic) => Ok(Box::new(BlsCoin::new(threshold, &bls::public_key(group)?, public_shares)?)),
        _ => Ok(Box::new(RistrettoCoin::new(threshold, &GroupKey::from_bytes(group)?, public_shares)?)),
    }
}

fn not_of_the_key() -> Error {
    Error::verification("coin: the public shares are not of the group's key with this threshold")
}

#[cfg(test)]
mod tests;
