//! Deals: what a dealer publishes, and how it is made, written and read.
//!
//! | bytes                     | what                                                                                  |
//! |---------------------------|---------------------------------------------------------------------------------------|
//! | 2                         | the scheme's letter and `d` (a new key) or `r` (a key that is handed on)              |
//! | 2                         | dealer (u16, little-endian)                                                           |
//! | 2                         | threshold t (u16, little-endian)                                                      |
//! | t points                  | the coefficients of the dealer's polynomial times the base point                      |
//! | a point, 32               | Schnorr proof of the constant term: k·B, k + c·secret                                 |

use std::fmt;

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::super::group::{Group, Scalar};
use super::super::polynomial::{PARTIES_MAX, Polynomial};
use super::super::share::{Keys, PointOf, ScalarOf, SecretShare};
use super::Setup;
use crate::crypto::hash::Hasher;
use crate::error::{Error, Result};

const CONTEXT_CHALLENGE: &str = "city-chain v1 tes dkg possession";
const CONTEXT_NONCE: &str = "city-chain v1 tes dkg nonce";

/// Bytes in front of the commitments.
const HEAD_LEN: usize = 6;

/// Bytes of the proof's number.
const RESPONSE_LEN: usize = 32;

/// What a deal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It adds to a new key.
    New,
    /// It hands a share of a key on.
    Reshare,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::New, Self::Reshare];

    /// The second letter of a deal.
    const fn letter(self) -> u8 {
        match self {
            Self::New => b'd',
            Self::Reshare => b'r',
        }
    }

    /// In words with an article, for messages.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::New => "a deal of a new key",
            Self::Reshare => "a deal that hands a key on",
        }
    }
}

/// What a dealer publishes: commitments to its polynomial, and a proof that it knows the constant term.
pub struct Deal<K: Keys> {
    purpose: Purpose,
    dealer: u16,
    commitments: Vec<PointOf<K>>,
    announced: PointOf<K>,
    response: ScalarOf<K>,
    bytes: Vec<u8>,
}

impl<K: Keys> Deal<K> {
    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whose it is.
    pub fn dealer(&self) -> u16 {
        self.dealer
    }

    /// How many shares determine what was dealt.
    pub fn threshold(&self) -> u16 {
        self.commitments.len() as u16
    }

    /// The coefficients of the dealer's polynomial times the base point, the constant term first.
    pub fn commitments(&self) -> &[PointOf<K>] {
        &self.commitments
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The point that the proof's maker announced.
    pub(super) fn announced(&self) -> &PointOf<K> {
        &self.announced
    }

    /// The number that answers the challenge.
    pub(super) fn response(&self) -> &ScalarOf<K> {
        &self.response
    }

    /// The challenge of the proof: of everything in front of the response, and of the occasion.
    pub(super) fn challenge(&self, setup: Setup<'_>) -> ScalarOf<K> {
        challenge::<K>(setup, &self.bytes[..self.bytes.len() - RESPONSE_LEN])
    }

    /// Reads a deal of the scheme `K`. Whether it is right is another question.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no deal of this scheme, of another length than its threshold says, the dealer is 0, the
    /// threshold 0 or above [`PARTIES_MAX`], or a point is none of the group or the neutral element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let letter = letter::<K>();
        let name = K::SCHEME.name();
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_LEN>() else {
            return Err(Error::input(format!("deal: {} bytes, at least {HEAD_LEN} are needed", bytes.len())));
        };
        let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| head[..2] == [letter, purpose.letter()]) else {
            return Err(Error::input(format!("deal: its first bytes are not those of a deal of {name}")));
        };
        let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (dealer, threshold) = (number(2), usize::from(number(4)));
        if dealer == 0 {
            return Err(Error::input("deal: its dealer is 0, the index of no party"));
        }
        if threshold == 0 || threshold > PARTIES_MAX {
            let range = format!("threshold {threshold}, 1 to {PARTIES_MAX} are possible");
            return Err(Error::input(format!("deal of dealer {dealer}: {range}")));
        }
        let points_len = (threshold + 1) * K::Group::POINT_LEN;
        if rest.len() != points_len + RESPONSE_LEN {
            let needed = HEAD_LEN + points_len + RESPONSE_LEN;
            let lengths = format!("{} bytes, with threshold {threshold} it has {needed}", bytes.len());
            return Err(Error::input(format!("deal of dealer {dealer}: {lengths}")));
        }
        let (points, response) = rest.split_at(points_len);
        let read = |(at, point): (usize, &[u8])| {
            K::Group::from_bytes(point).map_err(|error| {
                let place = if at == threshold { "the proof".to_owned() } else { format!("commitment {at}") };
                Error::input(format!("deal of dealer {dealer}: {place}: {error}"))
            })
        };
        let points: Result<Vec<_>> = points.par_chunks(K::Group::POINT_LEN).enumerate().map(read).collect();
        let mut commitments = points?;
        let mut number = [0; RESPONSE_LEN];
        number.copy_from_slice(response);
        let response = ScalarOf::<K>::from_bytes(&number)
            .map_err(|error| Error::input(format!("deal of dealer {dealer}: the proof: {error}")))?;
        let announced = commitments.pop().unwrap_or_else(K::Group::identity); // there are threshold + 1 points
        Ok(Self { purpose, dealer, commitments, announced, response, bytes: bytes.to_vec() })
    }
}

impl<K: Keys> Clone for Deal<K> {
    fn clone(&self) -> Self {
        Self { commitments: self.commitments.clone(), bytes: self.bytes.clone(), ..*self }
    }
}

impl<K: Keys> PartialEq for Deal<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<K: Keys> fmt::Debug for Deal<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, dealer, threshold) = (K::SCHEME.name(), self.dealer, self.threshold());
        write!(f, "<Deal of dealer {dealer} of {name}, threshold {threshold}>")
    }
}

/// A deal of a random secret, and each party's share of it, in the order of their indices.
///
/// # Errors
/// [`Error::Input`] if `dealer` is no party's index, [`Error::Unavailable`] if the system has no randomness.
pub fn deal<K: Keys>(setup: Setup<'_>, dealer: u16) -> Result<(Deal<K>, Vec<SecretShare>)> {
    setup.check_party(dealer)?;
    let polynomial = Polynomial::<K::Group>::random(setup.threshold)?;
    publish(setup, Purpose::New, dealer, &polynomial)
}

/// A deal that hands the share of an old party on to new parties, whom `setup` is about, and each new party's share of it.
///
/// # Errors
/// [`Error::Input`] if the share is of another scheme, [`Error::Unavailable`] if the system has no randomness.
pub fn reshare_deal<K: Keys>(setup: Setup<'_>, share: &SecretShare) -> Result<(Deal<K>, Vec<SecretShare>)> {
    let polynomial = Polynomial::<K::Group>::with_constant(&*share.scalar::<K>()?, setup.threshold)?;
    publish(setup, Purpose::Reshare, share.index(), &polynomial)
}

fn publish<K: Keys>(
    setup: Setup<'_>,
    purpose: Purpose,
    dealer: u16,
    polynomial: &Polynomial<K::Group>,
) -> Result<(Deal<K>, Vec<SecretShare>)> {
    let commitments = polynomial.commitments();
    let mut bytes = vec![letter::<K>(), purpose.letter()];
    bytes.extend_from_slice(&dealer.to_le_bytes());
    bytes.extend_from_slice(&setup.threshold.to_le_bytes());
    for point in &commitments {
        bytes.extend_from_slice(&K::Group::to_bytes(point));
    }
    let nonce = nonce::<K>(setup, &bytes, polynomial.constant())?;
    let announced = K::Group::mul_base(&nonce);
    bytes.extend_from_slice(&K::Group::to_bytes(&announced));
    let product = Zeroizing::new(challenge::<K>(setup, &bytes).mul(polynomial.constant()));
    let response = nonce.add(&product);
    bytes.extend_from_slice(&response.to_bytes());
    let share = |index| SecretShare::new::<K>(index, &polynomial.evaluate(index));
    let shares: Result<Vec<_>> = (1..=setup.parties).map(share).collect();
    Ok((Deal { purpose, dealer, commitments, announced, response, bytes }, shares?))
}

/// The letter of the scheme, as in its keys.
fn letter<K: Keys>() -> u8 {
    K::SCHEME.public().prefix()[0]
}

fn challenge<K: Keys>(setup: Setup<'_>, statement: &[u8]) -> ScalarOf<K> {
    let mut wide = [0; 64];
    Hasher::new(CONTEXT_CHALLENGE)
        .field(setup.context)
        .u64(u64::from(setup.parties))
        .field(K::Group::NAME.as_bytes())
        .field(statement)
        .fill(&mut wide);
    ScalarOf::<K>::from_wide(&wide)
}

/// Hedged: unless both the system's randomness and the secret are known, nobody can guess it.
fn nonce<K: Keys>(setup: Setup<'_>, statement: &[u8], secret: &ScalarOf<K>) -> Result<Zeroizing<ScalarOf<K>>> {
    let mut entropy = Zeroizing::new([0; 32]);
    getrandom::fill(entropy.as_mut())
        .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 32, 0))?;
    let mut wide = Zeroizing::new([0; 64]);
    Hasher::new(CONTEXT_NONCE)
        .fixed(Zeroizing::new(secret.to_bytes()).as_slice())
        .fixed(entropy.as_slice())
        .field(setup.context)
        .field(statement)
        .fill(wide.as_mut());
    Ok(Zeroizing::new(ScalarOf::<K>::from_wide(&wide)))
}
