//! How a city's threshold keys are made and handed on: signed dealings with sealed shares, and the keys that they make.
//!
//! Each delegate deals once for both keys (see [`crate::algorithms::tes::dkg`] for the protocol and its papers): the deals
//! are public, and each recipient's two shares are sealed to its KEM key, which a signed [`Recipient`] names. A dealing is
//! bound to network, epoch and its delegates, and where keys are handed on also to those; one of another occasion is refused.
//!
//! [`Dealings`] are dealings that are right as far as everybody can see; what they make of the keys follows for everybody.
//! Whether the shares are right only their recipient sees ([`Dealings::open`]), who names the dealers whose are not.
//!
//! Where the recipient's shares add up to what the deals say of its share of the key, they are right and nothing else is
//! computed; only if not is each share looked at by itself.
//!
//! What it does not give: who reads sealed shares later, with t recipients' KEM keys in hand, has the keys. So dealings are
//! kept no longer than a recipient may still need them.

mod shares;

use borsh::{BorshDeserialize, BorshSerialize};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::Key;
use super::city_keys::{CityKeys, DelegateKeys, threshold};
use super::epoch::Epoch;
use super::identity::Identity;
use super::signed::{self, SIGNATURE_LEN, Signed, signed};
use crate::algorithms::tes::dkg::{self, Deal, PublicKeys, Setup};
use crate::algorithms::tes::group::{Group, Scalar};
use crate::algorithms::tes::polynomial::{lagrange_at_zero, weighted_sum};
use crate::algorithms::tes::share::{BlsKeys, Keys, PublicShare, SECRET_SHARE_LEN, ScalarOf, SecretShare, Tdh2Keys};
use crate::crypto::dem;
use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::crypto::kem;
use crate::error::{Error, Result};
use crate::primitives::wire::{Bytes, List, Record};
use crate::proofs::dpos::{VALIDATORS_MAX, Validator};

pub use shares::KeyShares;

/// The most bytes of one deal.
const DEAL_MAX: usize = 128 << 10;

/// The most bytes of a KEM ciphertext.
const SESSION_MAX: usize = 2048;

/// Bytes of a recipient's two shares, sealed.
const SHARES_LEN: usize = 2 * SECRET_SHARE_LEN + dem::TAG_LEN;

const CONTEXT_COUNTERSIGNER: &str = "city-chain v1 city keys countersigner";
const CONTEXT_SETUP: &str = "city-chain v1 city keys setup";
const CONTEXT_SEAL: &str = "city-chain v1 city keys sealed shares";
const CONTEXT_SEAL_KEY: &str = "city-chain v1 city keys seal key";
const CONTEXT_DEALINGS: &str = "city-chain v1 city keys dealings";

/// Where a delegate's shares may be sealed to, signed by the delegate: whoever collects dealings cannot put in a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recipient {
    /// The network.
    pub network: Digest,
    /// The delegate.
    pub node: Key,
    /// Its KEM public key, typed.
    pub kem: Bytes<SESSION_MAX>,
    /// The digest of the ML-DSA public key that it countersigns with ([`countersigner`]).
    pub countersigner: Digest,
    /// Its signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Recipient {
    const TAG: [u8; 4] = *b"CCrn";
    const VERSION: u16 = 1;
    const NAME: &'static str = "recipient";
    const LEN_MAX: usize = SESSION_MAX + 256;
}

signed!(Recipient, node, "city-chain v1 city keys recipient");

impl Recipient {
    /// The delegate's own keys.
    ///
    /// # Errors
    /// As [`Identity::kem`] and [`Identity::ml_dsa`].
    pub fn new(identity: &Identity, network: Digest) -> Result<Self> {
        let recipient = Self {
            network,
            node: identity.id(),
            kem: Bytes::new("recipient: kem key", identity.kem(kem::Suite::XWing)?.public().as_bytes().to_vec())?,
            countersigner: countersigner(identity.ml_dsa()?.public().as_bytes()),
            signature: [0; SIGNATURE_LEN],
        };
        recipient.sign(identity.signing())
    }
}

/// What stands for an ML-DSA public key (typed bytes).
pub fn countersigner(public: &[u8]) -> Digest {
    hash::digest(CONTEXT_COUNTERSIGNER, public)
}

/// One recipient's shares, sealed; both are empty for a recipient whose key was not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct SealedShares {
    /// The KEM ciphertext.
    pub session: Bytes<SESSION_MAX>,
    /// The shares under its secret.
    pub shares: Bytes<SHARES_LEN>,
}

/// What one delegate deals.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Dealing {
    /// The network.
    pub network: Digest,
    /// The number of the epoch that the keys are for.
    pub epoch: u64,
    /// That epoch's root.
    pub epoch_root: Digest,
    /// The digest of the keys that are handed on; `None` where new ones are made.
    pub handed_on: Option<Digest>,
    /// Who deals.
    pub dealer: Key,
    /// The deal of the signing key.
    pub signing: Bytes<DEAL_MAX>,
    /// The deal of the encryption key.
    pub encryption: Bytes<DEAL_MAX>,
    /// The digest of the ML-DSA public key that the dealer countersigns with, if it is a delegate of the epoch.
    pub countersigner: Option<Digest>,
    /// The sealed shares of the epoch's delegates, by place.
    pub sealed: List<SealedShares, VALIDATORS_MAX>,
    /// The dealer's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Dealing {
    const TAG: [u8; 4] = *b"CCdl";
    const VERSION: u16 = 1;
    const NAME: &'static str = "dealing";
    const LEN_MAX: usize = 2 * DEAL_MAX + VALIDATORS_MAX * (SESSION_MAX + SHARES_LEN + 8) + 512;
}

signed!(Dealing, dealer, "city-chain v1 city keys dealing");

impl Dealing {
    /// A dealing of new keys for the delegates of `epoch`.
    ///
    /// # Errors
    /// [`Error::Input`] if the dealer is no delegate of the epoch or a record is not of one; [`Error::Verification`] if a
    /// record's signature is wrong.
    pub fn deal(identity: &Identity, epoch: &Epoch, recipients: &[Recipient]) -> Result<Self> {
        let Some(at) = epoch.validators.position(&identity.id()) else {
            return Err(Error::input(format!(
                "dealing: {} is no delegate of epoch {}",
                hex(&identity.id()),
                epoch.number
            )));
        };
        let occasion = Occasion::new(epoch, None)?;
        let (signing, signing_shares) = dkg::deal::<BlsKeys>(occasion.setup::<BlsKeys>()?, index_at(at)?)?;
        let (encryption, encryption_shares) = dkg::deal::<Tdh2Keys>(occasion.setup::<Tdh2Keys>()?, index_at(at)?)?;
        let deals = (signing.as_bytes(), encryption.as_bytes());
        Self::sealed(identity, epoch, &occasion, recipients, deals, (&signing_shares, &encryption_shares))
    }

    /// A dealing that hands `keys` on to the delegates of `epoch`; `shares` are the dealer's own.
    ///
    /// # Errors
    /// As [`Dealing::deal`], and [`Error::Input`] if the shares are not of these keys.
    pub fn reshare(
        identity: &Identity,
        epoch: &Epoch,
        recipients: &[Recipient],
        keys: &CityKeys,
        shares: &KeyShares,
    ) -> Result<Self> {
        let digest = keys.digest()?;
        if shares.keys != digest || keys.index(&identity.id()) != Some(shares.signing.index()) {
            return Err(Error::input("dealing: the shares are not the dealer's of the keys that are to be handed on"));
        }
        let occasion = Occasion::new(epoch, Some(digest))?;
        let (signing, to_sign) = dkg::reshare_deal::<BlsKeys>(occasion.setup::<BlsKeys>()?, &shares.signing)?;
        let (encryption, to_open) = dkg::reshare_deal::<Tdh2Keys>(occasion.setup::<Tdh2Keys>()?, &shares.encryption)?;
        let deals = (signing.as_bytes(), encryption.as_bytes());
        Self::sealed(identity, epoch, &occasion, recipients, deals, (&to_sign, &to_open))
    }

    fn sealed(
        identity: &Identity,
        epoch: &Epoch,
        occasion: &Occasion,
        recipients: &[Recipient],
        (signing, encryption): (&[u8], &[u8]),
        (to_sign, to_open): (&[SecretShare], &[SecretShare]),
    ) -> Result<Self> {
        let validators = epoch.validators.items();
        let mut records: Vec<Option<&Recipient>> = vec![None; validators.len()];
        for record in recipients {
            let position = epoch.validators.position(&record.node).filter(|_| record.network == epoch.network);
            let Some(place) = position.and_then(|at| records.get_mut(at)) else {
                return Err(Error::input(format!(
                    "dealing: {} is no delegate of epoch {} of this network",
                    hex(&record.node),
                    epoch.number
                )));
            };
            record.verify()?;
            *place = Some(record);
        }
        let dealer = identity.id();
        let seal = |(at, record): (usize, &Option<&Recipient>)| {
            let Some(record) = record else { return Ok(SealedShares::default()) };
            let (session, secret) = kem::PublicKey::from_bytes(&record.kem)?.encapsulate()?;
            let plain = Zeroizing::new([&to_sign[at].to_bytes()[..], &to_open[at].to_bytes()].concat());
            let bound = occasion.seal_binding(&dealer, &record.node);
            let shares = dem::seal(&seal_key(&secret, &bound), &bound, &plain);
            Ok(SealedShares {
                session: Bytes::new("dealing: session", session)?,
                shares: Bytes::new("dealing: shares", shares)?,
            })
        };
        let sealed: Result<Vec<SealedShares>> = records.par_iter().enumerate().map(seal).collect();
        let own = epoch.validators.position(&dealer).and_then(|at| records[at]);
        let dealing = Self {
            network: epoch.network,
            epoch: epoch.number,
            epoch_root: epoch.root(),
            handed_on: occasion.handed_on,
            dealer,
            signing: Bytes::new("dealing: deal", signing.to_vec())?,
            encryption: Bytes::new("dealing: deal", encryption.to_vec())?,
            countersigner: own.map(|record| record.countersigner),
            sealed: List::new("dealing: sealed shares", sealed?)?,
            signature: [0; SIGNATURE_LEN],
        };
        dealing.sign(identity.signing())
    }
}

/// What a key generation is for.
struct Occasion {
    network: Digest,
    epoch_root: Digest,
    handed_on: Option<Digest>,
    threshold: u16,
    parties: u16,
    contexts: [Digest; 2],
}

impl Occasion {
    fn new(epoch: &Epoch, handed_on: Option<Digest>) -> Result<Self> {
        let count = epoch.validators.items().len();
        let root = epoch.root();
        let context = |scheme: &str| {
            let mut hasher = Hasher::new(CONTEXT_SETUP);
            hasher.fixed(&epoch.network).u64(epoch.number).fixed(&root).field(scheme.as_bytes());
            hasher.field(handed_on.as_ref().map_or(&[], |digest| digest.as_slice())).finish()
        };
        Ok(Self {
            network: epoch.network,
            epoch_root: root,
            handed_on,
            threshold: threshold(count)?,
            parties: index_at(count.saturating_sub(1))?,
            contexts: [context(BlsKeys::SCHEME.name()), context(Tdh2Keys::SCHEME.name())],
        })
    }

    fn setup<K: Keys>(&self) -> Result<Setup<'_>> {
        let context = if K::SCHEME == BlsKeys::SCHEME { &self.contexts[0] } else { &self.contexts[1] };
        Setup::new(context, self.threshold, self.parties)
    }

    /// What the sealed shares of one dealer for one recipient are bound to.
    fn seal_binding(&self, dealer: &Key, recipient: &Key) -> Digest {
        Hasher::new(CONTEXT_SEAL)
            .fixed(&self.network)
            .fixed(&self.contexts[0])
            .fixed(&self.contexts[1])
            .fixed(dealer)
            .fixed(recipient)
            .finish()
    }
}

/// The key that seals shares, from the secret of a KEM.
fn seal_key(secret: &[u8; 32], bound: &Digest) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Hasher::new(CONTEXT_SEAL_KEY).fixed(secret).fixed(bound).finish())
}

/// The index of the party at a place that is counted from 0.
fn index_at(position: usize) -> Result<u16> {
    u16::try_from(position + 1).map_err(|_| Error::input(format!("city keys: place {position} is too far")))
}

/// One key's deals, and what they make.
struct Half<K: Keys> {
    deals: Vec<Deal<K>>,
    weights: Vec<ScalarOf<K>>,
    old: Option<PublicKeys<K>>,
    public: PublicKeys<K>,
}

impl<K: Keys> Half<K> {
    /// What the deals make, or those that are wrong as everybody can see, by place.
    fn new(
        setup: Setup<'_>,
        old: Option<PublicKeys<K>>,
        deals: Vec<Deal<K>>,
    ) -> Result<std::result::Result<Self, Vec<(usize, Error)>>> {
        let refs: Vec<&Deal<K>> = deals.iter().collect();
        let made = match &old {
            None => dkg::public_keys(setup, &refs),
            Some(old) => dkg::reshared_public_keys(setup, old, &refs),
        };
        let public = match made {
            Ok(public) => public,
            Err(error) => {
                let verdicts = dkg::verify_public(setup, old.as_ref(), &refs)?;
                let wrong: Vec<(usize, Error)> =
                    verdicts.into_iter().enumerate().filter_map(|(at, verdict)| Some((at, verdict.err()?))).collect();
                return if wrong.is_empty() { Err(error) } else { Ok(Err(wrong)) };
            }
        };
        let weights = match &old {
            None => vec![ScalarOf::<K>::ONE; deals.len()],
            Some(_) => lagrange_at_zero(&deals.iter().map(Deal::dealer).collect::<Vec<_>>())?,
        };
        Ok(Ok(Self { deals, weights, old, public }))
    }

    /// Party `index`'s share, from its shares of the deals; `None` if they do not fit.
    fn share(&self, index: u16, shares: &[&SecretShare]) -> Result<Option<SecretShare>> {
        let mut scalars = Vec::with_capacity(shares.len());
        for share in shares {
            if share.index() != index || share.scheme() != K::SCHEME {
                return Ok(None);
            }
            scalars.push(share.scalar::<K>()?);
        }
        let share = SecretShare::new::<K>(index, &*weighted_sum(&self.weights, &scalars))?;
        let fits = self.public.share(index).is_some_and(|public| {
            share.scalar::<K>().is_ok_and(|scalar| K::Group::mul_base(&scalar) == *public.point())
        });
        Ok(fits.then_some(share))
    }

    /// What is wrong with the shares that party `index` was dealt, by deal.
    fn verdicts(&self, setup: Setup<'_>, index: u16, shares: &[&SecretShare]) -> Result<Vec<Result<()>>> {
        let refs: Vec<&Deal<K>> = self.deals.iter().collect();
        match &self.old {
            None => dkg::verify_deals(setup, index, &refs, shares),
            Some(old) => dkg::verify_reshare_deals(setup, old, index, &refs, shares),
        }
    }
}

/// Who dealt wrongly, and how.
pub type Faults = Vec<(Key, String)>;

/// Dealings for one epoch that are right as far as everybody can see, one of each dealer, and the keys that they make.
pub struct Dealings {
    occasion: Occasion,
    dealings: Vec<Dealing>,
    signing: Half<BlsKeys>,
    encryption: Half<Tdh2Keys>,
    keys: CityKeys,
    keys_digest: Digest,
}

impl Dealings {
    /// Sorts dealings for the delegates of `epoch`: either all are right, or some dealers are named.
    ///
    /// `handed_on` are the keys that are handed on and the epoch that they are of, both believed.
    ///
    /// # Errors
    /// [`Error::Input`] if a dealer stands twice; [`Error::Unavailable`] if there are fewer dealings than the threshold.
    pub fn sort(
        epoch: &Epoch,
        mut dealings: Vec<Dealing>,
        handed_on: Option<&CityKeys>,
    ) -> Result<(Option<Self>, Faults)> {
        dealings.sort_by_key(|dealing| dealing.dealer);
        if let Some(pair) = dealings.windows(2).find(|pair| pair[0].dealer == pair[1].dealer) {
            return Err(Error::input(format!("dealings: those of {} stand twice", hex(&pair[0].dealer))));
        }
        let needed = match handed_on {
            Some(keys) => keys.threshold,
            None => threshold(epoch.validators.items().len())?,
        };
        if dealings.len() < usize::from(needed) {
            return Err(Error::unavailable("dealings for the city's keys", u64::from(needed), dealings.len() as u64));
        }
        let occasion = Occasion::new(epoch, handed_on.map(CityKeys::digest).transpose()?)?;
        let old = handed_on.map(Old::of).transpose()?;
        let digests: Vec<Digest> = dealings.iter().map(Signed::digest).collect::<Result<_>>()?;
        let pairs: Vec<(&Dealing, Digest)> = dealings.iter().zip(digests.iter().copied()).collect();
        let signatures = signed::verify_many::<Dealing, _>(&pairs)?;
        let read: Vec<Result<Read>> = dealings
            .par_iter()
            .zip(signatures)
            .map(|(dealing, signature)| signature.and_then(|()| Read::of(dealing, epoch, &occasion, handed_on)))
            .collect();
        let named = |at: usize, error: &Error| (dealings[at].dealer, error.to_string());
        let wrong: Faults =
            read.iter().enumerate().filter_map(|(at, read)| Some(named(at, read.as_ref().err()?))).collect();
        if !wrong.is_empty() {
            return Ok((None, wrong));
        }
        let (signing, encryption): (Vec<_>, Vec<_>) =
            read.into_iter().flatten().map(|read| (read.signing, read.encryption)).unzip();
        let (old_signing, old_encryption) = old.map_or((None, None), |old| (Some(old.signing), Some(old.encryption)));
        let signing = Half::new(occasion.setup::<BlsKeys>()?, old_signing, signing)?;
        let encryption = Half::new(occasion.setup::<Tdh2Keys>()?, old_encryption, encryption)?;
        let (signing, encryption) = match (signing, encryption) {
            (Ok(signing), Ok(encryption)) => (signing, encryption),
            (signing, encryption) => {
                let wrong = signing.err().into_iter().flatten().chain(encryption.err().into_iter().flatten());
                return Ok((None, wrong.map(|(at, error)| named(at, &error)).collect()));
            }
        };
        let keys = keys_of(epoch, &dealings, &digests, &occasion, &signing, &encryption)?;
        let keys_digest = keys.digest()?;
        Ok((Some(Self { occasion, dealings, signing, encryption, keys, keys_digest }), Vec::new()))
    }

    /// The keys that the dealings make, not certified.
    pub fn keys(&self) -> &CityKeys {
        &self.keys
    }

    /// Opens what the dealings hold for one delegate: its shares of the keys, or the dealers whose part is wrong.
    ///
    /// # Errors
    /// [`Error::Input`] if the identity is no delegate of the epoch.
    pub fn open(&self, identity: &Identity) -> Result<(Option<KeyShares>, Faults)> {
        let own = identity.id();
        let Some(index) = self.keys.index(&own) else {
            return Err(Error::input(format!("dealings: {} is no delegate of epoch {}", hex(&own), self.keys.epoch)));
        };
        let opened: Vec<Result<(SecretShare, SecretShare)>> =
            self.dealings.par_iter().map(|dealing| self.open_one(identity, dealing, index)).collect();
        let named = |at: usize, error: &Error| (self.dealings[at].dealer, error.to_string());
        let wrong: Faults =
            opened.iter().enumerate().filter_map(|(at, opened)| Some(named(at, opened.as_ref().err()?))).collect();
        if !wrong.is_empty() {
            return Ok((None, wrong));
        }
        let shares: Vec<(SecretShare, SecretShare)> = opened.into_iter().flatten().collect();
        let to_sign: Vec<&SecretShare> = shares.iter().map(|pair| &pair.0).collect();
        let to_open: Vec<&SecretShare> = shares.iter().map(|pair| &pair.1).collect();
        if let (Some(signing), Some(encryption)) =
            (self.signing.share(index, &to_sign)?, self.encryption.share(index, &to_open)?)
        {
            let encryption_key = (*self.encryption.public.group_key()).into();
            return Ok((Some(KeyShares { keys: self.keys_digest, signing, encryption, encryption_key }), Vec::new()));
        }
        let signing = self.signing.verdicts(self.occasion.setup::<BlsKeys>()?, index, &to_sign)?;
        let encryption = self.encryption.verdicts(self.occasion.setup::<Tdh2Keys>()?, index, &to_open)?;
        let both = signing.into_iter().zip(encryption).enumerate();
        let wrong = both.filter_map(|(at, (one, other))| Some(named(at, &one.and(other).err()?))).collect();
        Ok((None, wrong))
    }

    fn open_one(&self, identity: &Identity, dealing: &Dealing, index: u16) -> Result<(SecretShare, SecretShare)> {
        let wrong = |what: &str| Error::verification(format!("dealing of {}: {what}", hex(&dealing.dealer)));
        let sealed = dealing
            .sealed
            .get(usize::from(index) - 1)
            .filter(|sealed| !sealed.session.is_empty())
            .ok_or_else(|| wrong("nothing in it is for this delegate"))?;
        let unreadable = |_| wrong("the shares sealed for this delegate cannot be opened");
        let secret = identity.kem(kem::Suite::XWing)?.decapsulate(&sealed.session).map_err(unreadable)?;
        let bound = self.occasion.seal_binding(&dealing.dealer, &identity.id());
        let plain = dem::open(&seal_key(&secret, &bound), &bound, &sealed.shares).map_err(unreadable)?;
        let plain = Zeroizing::new(plain);
        let Some((signing, encryption)) = plain.split_at_checked(SECRET_SHARE_LEN) else {
            return Err(wrong("the shares sealed for this delegate are cut off"));
        };
        let read =
            |bytes| SecretShare::from_bytes(bytes).map_err(|_| wrong("what is sealed for this delegate is no share"));
        Ok((read(signing)?, read(encryption)?))
    }
}

/// The two keys that are handed on, as the key generation knows them.
struct Old {
    signing: PublicKeys<BlsKeys>,
    encryption: PublicKeys<Tdh2Keys>,
}

impl Old {
    fn of(keys: &CityKeys) -> Result<Self> {
        Ok(Self {
            signing: PublicKeys::new(keys.threshold, keys.signing_group()?, keys.signing_shares()?)?,
            encryption: PublicKeys::new(keys.threshold, keys.encryption_group()?, keys.encryption_shares()?)?,
        })
    }
}

/// The deals of one dealing.
struct Read {
    signing: Deal<BlsKeys>,
    encryption: Deal<Tdh2Keys>,
}

impl Read {
    /// Reads a dealing's deals, if it is for this occasion and by a delegate who may deal.
    fn of(dealing: &Dealing, epoch: &Epoch, occasion: &Occasion, handed_on: Option<&CityKeys>) -> Result<Self> {
        let named = (dealing.network, dealing.epoch, dealing.epoch_root, dealing.handed_on);
        if named != (epoch.network, epoch.number, occasion.epoch_root, occasion.handed_on) {
            return Err(Error::verification("dealing: it was made for another network, epoch or occasion"));
        }
        let index = match handed_on {
            Some(keys) => keys.index(&dealing.dealer),
            None => epoch.validators.position(&dealing.dealer).map(index_at).transpose()?,
        };
        let Some(index) = index else {
            return Err(Error::verification("dealing: its dealer is no delegate who deals"));
        };
        if dealing.sealed.len() != usize::from(occasion.parties) {
            return Err(Error::verification(format!(
                "dealing: sealed shares for {} delegates, there are {}",
                dealing.sealed.len(),
                occasion.parties
            )));
        }
        let read =
            Self { signing: Deal::from_bytes(&dealing.signing)?, encryption: Deal::from_bytes(&dealing.encryption)? };
        if read.signing.dealer() != index || read.encryption.dealer() != index {
            return Err(Error::verification(format!("dealing: its deals are not those of dealer {index}")));
        }
        Ok(read)
    }
}

fn keys_of(
    epoch: &Epoch,
    dealings: &[Dealing],
    digests: &[Digest],
    occasion: &Occasion,
    signing: &Half<BlsKeys>,
    encryption: &Half<Tdh2Keys>,
) -> Result<CityKeys> {
    let mut hasher = Hasher::new(CONTEXT_DEALINGS);
    hasher.u64(digests.len() as u64);
    for digest in digests {
        hasher.fixed(digest);
    }
    let delegates = epoch.validators.items().iter().zip(signing.public.shares()).zip(encryption.public.shares());
    type Row<'a> = ((&'a Validator, &'a PublicShare<BlsKeys>), &'a PublicShare<Tdh2Keys>);
    let delegate = |((validator, to_sign), to_open): Row<'_>| {
        let dealt = dealings.iter().find(|dealing| dealing.dealer == validator.key);
        Ok(DelegateKeys {
            node: validator.key,
            signing: point::<BlsKeys, _>(to_sign.point())?,
            encryption: point::<Tdh2Keys, _>(to_open.point())?,
            countersigner: dealt.and_then(|dealing| dealing.countersigner),
        })
    };
    let delegates: Result<Vec<DelegateKeys>> = delegates.map(delegate).collect();
    Ok(CityKeys {
        network: epoch.network,
        epoch: epoch.number,
        epoch_root: occasion.epoch_root,
        dealings: hasher.finish(),
        threshold: occasion.threshold,
        signing_key: point::<BlsKeys, _>(signing.public.group_key().point())?,
        encryption_key: point::<Tdh2Keys, _>(encryption.public.group_key().point())?,
        delegates: List::new("city keys: delegates", delegates?)?,
        signatures: List::default(),
    })
}

fn point<K: Keys, const LEN: usize>(point: &<K::Group as Group>::Point) -> Result<[u8; LEN]> {
    let bytes = K::Group::to_bytes(point);
    bytes.try_into().map_err(|_| Error::input(format!("city keys: a point of {} has another length", K::Group::NAME)))
}

#[cfg(test)]
mod tests;
