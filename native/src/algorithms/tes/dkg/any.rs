//! The same functions where the scheme is known at run time only: for what is read from bytes, and for Python.

use super::super::share::{BlsKeys, CoinKeys, GroupKey, Keys, PublicShare, Scheme, SecretShare, Tdh2Keys};
use super::{Setup, Verdicts};
use crate::crypto::typed::Kind;
use crate::error::{Error, Result};

/// A [`super::Deal`] of any scheme.
#[derive(Debug, Clone, PartialEq)]
pub enum Deal {
    /// Of a BLS key.
    Bls(super::Deal<BlsKeys>),
    /// Of a key of threshold encryption.
    Tdh2(super::Deal<Tdh2Keys>),
    /// Of a coin.
    Coin(super::Deal<CoinKeys>),
}

/// [`super::PublicKeys`] of any scheme.
#[derive(Debug, Clone, PartialEq)]
pub enum PublicKeys {
    /// Of a BLS key.
    Bls(super::PublicKeys<BlsKeys>),
    /// Of a key of threshold encryption.
    Tdh2(super::PublicKeys<Tdh2Keys>),
    /// Of a coin.
    Coin(super::PublicKeys<CoinKeys>),
}

/// What a party has in the end.
pub struct KeyShare {
    /// The party's own share.
    pub secret: SecretShare,
    /// The group's key and what each party's work is checked against.
    pub public: PublicKeys,
}

/// A scheme whose deals and keys are a case of [`Deal`] and [`PublicKeys`].
trait Case: Keys + Sized {
    fn deal(deal: super::Deal<Self>) -> Deal;
    fn of_deal(deal: &Deal) -> Option<&super::Deal<Self>>;
    fn keys(keys: super::PublicKeys<Self>) -> PublicKeys;
    fn of_keys(keys: &PublicKeys) -> Option<&super::PublicKeys<Self>>;
}

macro_rules! cases {
    ($($case:ident: $keys:ty),*) => { $(
        impl Case for $keys {
            fn deal(deal: super::Deal<Self>) -> Deal {
                Deal::$case(deal)
            }

            fn of_deal(deal: &Deal) -> Option<&super::Deal<Self>> {
                match deal {
                    Deal::$case(deal) => Some(deal),
                    _ => None,
                }
            }

            fn keys(keys: super::PublicKeys<Self>) -> PublicKeys {
                PublicKeys::$case(keys)
            }

            fn of_keys(keys: &PublicKeys) -> Option<&super::PublicKeys<Self>> {
                match keys {
                    PublicKeys::$case(keys) => Some(keys),
                    _ => None,
                }
            }
        }
    )* };
}

cases!(Bls: BlsKeys, Tdh2: Tdh2Keys, Coin: CoinKeys);

/// `$body` with `$K` as the scheme's type.
macro_rules! with_keys {
    ($scheme:expr, $K:ident => $body:expr) => {
        match $scheme {
            Scheme::Bls => {
                type $K = BlsKeys;
                $body
            }
            Scheme::Tdh2 => {
                type $K = Tdh2Keys;
                $body
            }
            Scheme::Coin => {
                type $K = CoinKeys;
                $body
            }
        }
    };
}

/// `$body` with `$inner` as what the case holds.
macro_rules! inside {
    ($Any:ident, $any:expr, $inner:ident => $body:expr) => {
        match $any {
            $Any::Bls($inner) => $body,
            $Any::Tdh2($inner) => $body,
            $Any::Coin($inner) => $body,
        }
    };
}

impl Deal {
    /// Reads a deal.
    ///
    /// # Errors
    /// [`Error::Input`] as [`super::Deal::from_bytes`], or if its first letter is no scheme's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let letter = bytes.first().copied();
        let scheme = Scheme::ALL.into_iter().find(|scheme| Some(scheme.public().prefix()[0]) == letter);
        let scheme = scheme.ok_or_else(|| Error::input("deal: its first byte is no scheme's letter"))?;
        with_keys!(scheme, K => super::Deal::<K>::from_bytes(bytes).map(K::deal))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Bls(_) => Scheme::Bls,
            Self::Tdh2(_) => Scheme::Tdh2,
            Self::Coin(_) => Scheme::Coin,
        }
    }

    /// Whether it hands a key on, and does not make a new one.
    pub fn reshares(&self) -> bool {
        inside!(Self, self, deal => deal.purpose()) == super::Purpose::Reshare
    }

    /// Whose it is.
    pub fn dealer(&self) -> u16 {
        inside!(Self, self, deal => deal.dealer())
    }

    /// How many shares determine what was dealt.
    pub fn threshold(&self) -> u16 {
        inside!(Self, self, deal => deal.threshold())
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        inside!(Self, self, deal => deal.as_bytes())
    }

    fn of<K: Case>(&self) -> Result<&super::Deal<K>> {
        K::of_deal(self).ok_or_else(|| {
            let (dealer, found, needed) = (self.dealer(), self.scheme().name(), K::SCHEME.name());
            Error::verification(format!("deal of dealer {dealer}: it is of {found}, {needed} is needed"))
        })
    }
}

impl PublicKeys {
    /// The keys of a group that came from elsewhere, as typed bytes: the scheme is that of the group's key.
    ///
    /// # Errors
    /// As [`super::PublicKeys::new`], and [`Error::Input`] if bytes are not those of such keys.
    pub fn new(threshold: u16, group: &[u8], shares: &[&[u8]]) -> Result<Self> {
        let found = Kind::of(group);
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| Some(scheme.public()) == found) else {
            let found = found.map_or("of no known type", Kind::words);
            return Err(Error::input(format!("key: it is {found}, a public key of a group is needed")));
        };
        with_keys!(scheme, K => {
            let shares: Result<Vec<_>> = shares.iter().map(|share| PublicShare::<K>::from_bytes(share)).collect();
            super::PublicKeys::new(threshold, GroupKey::<K>::from_bytes(group)?, shares?).map(K::keys)
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Bls(_) => Scheme::Bls,
            Self::Tdh2(_) => Scheme::Tdh2,
            Self::Coin(_) => Scheme::Coin,
        }
    }

    /// How many parties do what the key can.
    pub fn threshold(&self) -> u16 {
        inside!(Self, self, keys => keys.threshold())
    }

    /// How many parties there are.
    pub fn parties(&self) -> u16 {
        inside!(Self, self, keys => keys.parties())
    }

    /// The group's key, typed bytes.
    pub fn group_key(&self) -> Vec<u8> {
        inside!(Self, self, keys => keys.group_key().to_bytes())
    }

    /// The public shares, typed bytes, in the order of the indices.
    pub fn shares(&self) -> Vec<Vec<u8>> {
        inside!(Self, self, keys => keys.shares().iter().map(PublicShare::to_bytes).collect())
    }

    fn of<K: Case>(&self) -> Result<&super::PublicKeys<K>> {
        K::of_keys(self).ok_or_else(|| {
            let (found, needed) = (self.scheme().name(), K::SCHEME.name());
            Error::input(format!("public keys: they are of {found}, {needed} is needed"))
        })
    }
}

/// The public share that belongs to a secret share, typed bytes.
///
/// # Errors
/// [`Error::Input`] if its value is not below the order of the group.
pub fn public_share(share: &SecretShare) -> Result<Vec<u8>> {
    with_keys!(share.scheme(), K => share.public::<K>().map(|public| public.to_bytes()))
}

/// [`super::deal`].
///
/// # Errors
/// As there.
pub fn deal(scheme: Scheme, setup: Setup<'_>, dealer: u16) -> Result<(Deal, Vec<SecretShare>)> {
    with_keys!(scheme, K => super::deal::<K>(setup, dealer).map(|(deal, shares)| (K::deal(deal), shares)))
}

/// [`super::reshare_deal`].
///
/// # Errors
/// As there.
pub fn reshare_deal(scheme: Scheme, setup: Setup<'_>, share: &SecretShare) -> Result<(Deal, Vec<SecretShare>)> {
    with_keys!(scheme, K => super::reshare_deal::<K>(setup, share).map(|(deal, shares)| (K::deal(deal), shares)))
}

/// [`super::verify_deals`]; a deal of another scheme has that as its verdict.
///
/// # Errors
/// As there.
pub fn verify_deals(
    scheme: Scheme,
    setup: Setup<'_>,
    index: u16,
    deals: &[&Deal],
    shares: &[&SecretShare],
) -> Result<Verdicts> {
    with_keys!(scheme, K => among::<K>(deals, shares, |deals, shares| super::verify_deals(setup, index, deals, shares)))
}

/// [`super::verify_reshare_deals`]; a deal of another scheme has that as its verdict.
///
/// # Errors
/// As there, and [`Error::Input`] if `old` is of another scheme.
pub fn verify_reshare_deals(
    scheme: Scheme,
    setup: Setup<'_>,
    old: &PublicKeys,
    index: u16,
    deals: &[&Deal],
    shares: &[&SecretShare],
) -> Result<Verdicts> {
    with_keys!(scheme, K => {
        let old = old.of::<K>()?;
        among::<K>(deals, shares, |deals, shares| super::verify_reshare_deals(setup, old, index, deals, shares))
    })
}

/// [`super::finalize`].
///
/// # Errors
/// As there, and [`Error::Verification`] if a deal is of another scheme.
pub fn finalize(
    scheme: Scheme,
    setup: Setup<'_>,
    index: u16,
    deals: &[&Deal],
    shares: &[&SecretShare],
) -> Result<KeyShare> {
    with_keys!(scheme, K => super::finalize::<K>(setup, index, &all(deals)?, shares).map(key_share))
}

/// [`super::finalize_reshare`].
///
/// # Errors
/// As there, [`Error::Verification`] if a deal and [`Error::Input`] if `old` is of another scheme.
pub fn finalize_reshare(
    scheme: Scheme,
    setup: Setup<'_>,
    old: &PublicKeys,
    index: u16,
    deals: &[&Deal],
    shares: &[&SecretShare],
) -> Result<KeyShare> {
    with_keys!(scheme, K => {
        super::finalize_reshare::<K>(setup, old.of()?, index, &all(deals)?, shares).map(key_share)
    })
}

/// [`super::public_keys`].
///
/// # Errors
/// As there, and [`Error::Verification`] if a deal is of another scheme.
pub fn public_keys(scheme: Scheme, setup: Setup<'_>, deals: &[&Deal]) -> Result<PublicKeys> {
    with_keys!(scheme, K => super::public_keys::<K>(setup, &all(deals)?).map(K::keys))
}

/// [`super::reshared_public_keys`].
///
/// # Errors
/// As there, [`Error::Verification`] if a deal and [`Error::Input`] if `old` is of another scheme.
pub fn reshared_public_keys(scheme: Scheme, setup: Setup<'_>, old: &PublicKeys, deals: &[&Deal]) -> Result<PublicKeys> {
    with_keys!(scheme, K => super::reshared_public_keys::<K>(setup, old.of()?, &all(deals)?).map(K::keys))
}

fn key_share<K: Case>(made: super::KeyShare<K>) -> KeyShare {
    KeyShare { secret: made.secret, public: K::keys(made.public) }
}

/// All deals, which must be of one scheme.
fn all<'a, K: Case>(deals: &[&'a Deal]) -> Result<Vec<&'a super::Deal<K>>> {
    deals.iter().map(|deal| deal.of::<K>()).collect()
}

/// The verdicts that `verify` gives on those of the scheme, with a refusal in each other's place.
fn among<K: Case>(
    deals: &[&Deal],
    shares: &[&SecretShare],
    verify: impl FnOnce(&[&super::Deal<K>], &[&SecretShare]) -> Result<Verdicts>,
) -> Result<Verdicts> {
    if shares.len() != deals.len() {
        return Err(Error::input(format!("dkg: {} shares for {} deals", shares.len(), deals.len())));
    }
    let of_scheme: Vec<Result<&super::Deal<K>>> = deals.iter().map(|deal| deal.of::<K>()).collect();
    let (known, theirs): (Vec<_>, Vec<&SecretShare>) =
        of_scheme.iter().zip(shares).filter_map(|(deal, share)| Some((*deal.as_ref().ok()?, *share))).unzip();
    let mut verdicts = verify(&known, &theirs)?.into_iter();
    let mut next = || verdicts.next().unwrap_or(Ok(())); // there is one for each
    Ok(of_scheme.into_iter().map(|deal| deal.and_then(|_| next())).collect())
}
