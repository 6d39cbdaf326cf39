//! The keys of a group of parties and how they are written: the scheme and the role stand in front, so that no key can be
//! used for another scheme.
//!
//! | what                | bytes                                         |
//! |---------------------|-----------------------------------------------|
//! | [`SecretShare`]     | `?x` ‖ index (u16, little-endian) ‖ scalar    |
//! | [`PublicShare`]     | `?v` ‖ index (u16, little-endian) ‖ point     |
//! | [`GroupKey`]        | `?p` ‖ point                                  |
//!
//! A secret share knows its scheme at run time, as it comes out of a file or a message; public keys know it as a type
//! ([`Keys`]), because their points are of different groups.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bls12381::G2;
use super::group::{Group, Scalar};
use super::ristretto::Ristretto;
use crate::crypto::typed::{self, Kind, PREFIX_LEN};
use crate::error::{Error, Result};

/// Bytes of an index.
pub const INDEX_LEN: usize = 2;

/// Bytes of an encoded secret share.
pub const SECRET_SHARE_LEN: usize = PREFIX_LEN + INDEX_LEN + 32;

/// What a shared key is for. Keys of different schemes never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// BLS signatures ([`super::bls`]) and the coin made of them.
    Bls,
    /// Threshold encryption ([`super::tdh2`]).
    Tdh2,
    /// The common coin on ristretto255 ([`super::coin`]).
    Coin,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 3] = [Self::Bls, Self::Tdh2, Self::Coin];

    /// Its name: `bls`, `tdh2`, `coin`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bls => "bls",
            Self::Tdh2 => "tdh2",
            Self::Coin => "coin",
        }
    }

    /// The scheme of a name.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none of this name.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.name() == name)
            .ok_or_else(|| Error::input(format!("scheme: there is none named {name:?}, but 'bls', 'tdh2' and 'coin'")))
    }

    /// The kind of its group keys.
    pub const fn public(self) -> Kind {
        match self {
            Self::Bls => Kind::BlsPublic,
            Self::Tdh2 => Kind::Tdh2Public,
            Self::Coin => Kind::CoinPublic,
        }
    }

    /// The kind of its secret shares.
    pub const fn secret_share(self) -> Kind {
        match self {
            Self::Bls => Kind::BlsSecretShare,
            Self::Tdh2 => Kind::Tdh2SecretShare,
            Self::Coin => Kind::CoinSecretShare,
        }
    }

    /// The kind of its public shares.
    pub const fn public_share(self) -> Kind {
        match self {
            Self::Bls => Kind::BlsPublicShare,
            Self::Tdh2 => Kind::Tdh2PublicShare,
            Self::Coin => Kind::CoinPublicShare,
        }
    }
}

/// A scheme as a type: which group its keys are in.
pub trait Keys: Send + Sync + 'static {
    /// The group.
    type Group: Group;
    /// The scheme.
    const SCHEME: Scheme;
}

/// Keys of BLS signatures: public keys are in G2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlsKeys;

/// Keys of threshold encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tdh2Keys;

/// Keys of the common coin on ristretto255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoinKeys;

impl Keys for BlsKeys {
    type Group = G2;
    const SCHEME: Scheme = Scheme::Bls;
}

impl Keys for Tdh2Keys {
    type Group = Ristretto;
    const SCHEME: Scheme = Scheme::Tdh2;
}

impl Keys for CoinKeys {
    type Group = Ristretto;
    const SCHEME: Scheme = Scheme::Coin;
}

/// A scalar of the group of `K`.
pub type ScalarOf<K> = <<K as Keys>::Group as Group>::Scalar;

/// A point of the group of `K`.
pub type PointOf<K> = <<K as Keys>::Group as Group>::Point;

/// One party's secret share of a key. Zeroised on drop; `Debug` shows scheme and index only.
pub struct SecretShare {
    scheme: Scheme,
    index: u16,
    scalar: Zeroizing<[u8; 32]>,
}

impl SecretShare {
    /// The share of party `index`.
    ///
    /// # Errors
    /// [`Error::Input`] if the index is 0, which is no party's.
    pub fn new<K: Keys>(index: u16, scalar: &ScalarOf<K>) -> Result<Self> {
        check_index(index)?;
        Ok(Self { scheme: K::SCHEME, index, scalar: Zeroizing::new(scalar.to_bytes()) })
    }

    /// What its key is for.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whose it is, 1 to 65535.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The value, for the scheme `K`.
    ///
    /// # Errors
    /// [`Error::Input`] if the share is of another scheme.
    pub fn scalar<K: Keys>(&self) -> Result<Zeroizing<ScalarOf<K>>> {
        if self.scheme != K::SCHEME {
            let (found, needed) = (self.scheme.secret_share().words(), K::SCHEME.secret_share().words());
            return Err(Error::input(format!("key: it is {found}, {needed} is needed")));
        }
        Ok(Zeroizing::new(ScalarOf::<K>::from_bytes(&self.scalar)?))
    }

    /// The public share that belongs to it.
    ///
    /// # Errors
    /// As [`SecretShare::scalar`].
    pub fn public<K: Keys>(&self) -> Result<PublicShare<K>> {
        Ok(PublicShare { index: self.index, point: K::Group::mul_base(&*self.scalar::<K>()?) })
    }

    /// The encoding: [`SECRET_SHARE_LEN`] secret bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new([0; SECRET_SHARE_LEN - PREFIX_LEN]);
        body[..INDEX_LEN].copy_from_slice(&self.index.to_le_bytes());
        body[INDEX_LEN..].copy_from_slice(self.scalar.as_slice());
        Zeroizing::new(typed::encode(self.scheme.secret_share(), body.as_slice()))
    }

    /// Reads a share of any scheme.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no secret share, of another length, its index is 0 or its value is not below the order of
    /// the group.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let found = Kind::of(bytes);
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| Some(scheme.secret_share()) == found) else {
            let found = found.map_or("of no known type", Kind::words);
            return Err(Error::input(format!("key: it is {found}, a secret share is needed")));
        };
        let body = typed::decode(scheme.secret_share(), bytes, SECRET_SHARE_LEN)?;
        let (index, rest) = split_index(body)?;
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(rest);
        let share = Self { scheme, index, scalar };
        match scheme {
            Scheme::Bls => drop(share.scalar::<BlsKeys>()?),
            Scheme::Tdh2 => drop(share.scalar::<Tdh2Keys>()?),
            Scheme::Coin => drop(share.scalar::<CoinKeys>()?),
        }
        Ok(share)
    }
}

impl PartialEq for SecretShare {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.index == other.index
            && bool::from(self.scalar.as_slice().ct_eq(other.scalar.as_slice()))
    }
}

impl fmt::Debug for SecretShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<SecretShare {} of {}>", self.index, self.scheme.name())
    }
}

/// What the work of one party is checked against: its secret share times the base point.
pub struct PublicShare<K: Keys> {
    index: u16,
    point: PointOf<K>,
}

impl<K: Keys> PublicShare<K> {
    /// Bytes of an encoded public share.
    pub const LEN: usize = PREFIX_LEN + INDEX_LEN + K::Group::POINT_LEN;

    /// The share of party `index`.
    ///
    /// # Errors
    /// [`Error::Input`] if the index is 0 or the point is the neutral element.
    pub fn new(index: u16, point: PointOf<K>) -> Result<Self> {
        check_index(index)?;
        if point == K::Group::identity() {
            return Err(Error::input(format!("public share {index}: it is the neutral element")));
        }
        Ok(Self { index, point })
    }

    /// Whose it is, 1 to 65535.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The point.
    pub fn point(&self) -> &PointOf<K> {
        &self.point
    }

    /// The encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = [&self.index.to_le_bytes()[..], &K::Group::to_bytes(&self.point)].concat();
        typed::encode(K::SCHEME.public_share(), &body)
    }

    /// Reads a share of the scheme `K`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no public share of this scheme, of another length, its index is 0 or its point is none of
    /// the group or the neutral element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (index, point) = split_index(typed::decode(K::SCHEME.public_share(), bytes, Self::LEN)?)?;
        Ok(Self { index, point: K::Group::from_bytes(point)? })
    }
}

/// The public key of all parties together.
pub struct GroupKey<K: Keys>(PointOf<K>);

impl<K: Keys> GroupKey<K> {
    /// Bytes of an encoded group key.
    pub const LEN: usize = PREFIX_LEN + K::Group::POINT_LEN;

    /// The key that is `point`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is the neutral element.
    pub fn new(point: PointOf<K>) -> Result<Self> {
        if point == K::Group::identity() {
            return Err(Error::input(format!("{}: it is the neutral element", K::SCHEME.public().words())));
        }
        Ok(Self(point))
    }

    /// The point.
    pub fn point(&self) -> &PointOf<K> {
        &self.0
    }

    /// The encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        typed::encode(K::SCHEME.public(), &K::Group::to_bytes(&self.0))
    }

    /// Reads a key of the scheme `K`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no public key of this scheme, of another length, or its point is none of the group or the
    /// neutral element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        K::Group::from_bytes(typed::decode(K::SCHEME.public(), bytes, Self::LEN)?).map(Self)
    }
}

// Derives would ask the same of `K`, which is never a value.
macro_rules! plain_values {
    ($($name:ident),*) => { $(
        impl<K: Keys> Clone for $name<K> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<K: Keys> Copy for $name<K> {}

        impl<K: Keys> PartialEq for $name<K> {
            fn eq(&self, other: &Self) -> bool {
                self.to_bytes() == other.to_bytes()
            }
        }

        impl<K: Keys> fmt::Debug for $name<K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "<{} {}>", stringify!($name), crate::crypto::hash::hex(&self.to_bytes()))
            }
        }
    )* };
}

plain_values!(PublicShare, GroupKey);

/// Whether `index` can be a party's.
fn check_index(index: u16) -> Result<()> {
    if index == 0 {
        return Err(Error::input("index: 0 is the index of no party, they are 1 to 65535"));
    }
    Ok(())
}

/// The index in front and what is behind it.
pub(super) fn split_index(bytes: &[u8]) -> Result<(u16, &[u8])> {
    let Some((index, rest)) = bytes.split_first_chunk::<INDEX_LEN>() else {
        return Err(Error::input(format!("index: {} bytes, {INDEX_LEN} are needed", bytes.len())));
    };
    let index = u16::from_le_bytes(*index);
    check_index(index)?;
    Ok((index, rest))
}

#[cfg(test)]
mod tests {
    use super::super::polynomial::random_scalar;
    use super::*;

    fn message<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    fn share<K: Keys>(index: u16) -> SecretShare {
        SecretShare::new::<K>(index, &*random_scalar().unwrap()).unwrap()
    }

    #[test]
    fn written_and_read_again() {
        fn check<K: Keys>(letter: &str) {
            let secret = share::<K>(0x0102);
            let bytes = secret.to_bytes();
            assert_eq!(bytes.len(), SECRET_SHARE_LEN);
            assert_eq!(bytes[..4], *format!("{letter}x\x02\x01").as_bytes());
            assert_eq!(bytes[4..], secret.scalar::<K>().unwrap().to_bytes());
            let read = SecretShare::from_bytes(&bytes).unwrap();
            assert_eq!((read.scheme(), read.index()), (K::SCHEME, 0x0102));
            assert!(read == secret && read != share::<K>(0x0102));

            let public = secret.public::<K>().unwrap();
            assert_eq!(public.to_bytes().len(), PublicShare::<K>::LEN);
            assert_eq!(public.to_bytes()[..4], *format!("{letter}v\x02\x01").as_bytes());
            assert_eq!(PublicShare::<K>::from_bytes(&public.to_bytes()).unwrap(), public);
            assert_eq!(PublicShare::<K>::new(public.index(), *public.point()).unwrap(), public);

            let key = GroupKey::<K>::new(*public.point()).unwrap();
            assert_eq!(key.to_bytes().len(), GroupKey::<K>::LEN);
            assert_eq!(key.to_bytes()[..2], *format!("{letter}p").as_bytes());
            assert_eq!(GroupKey::<K>::from_bytes(&key.to_bytes()).unwrap(), key);
            assert_eq!(key.to_bytes()[2..], public.to_bytes()[4..]);
        }
        check::<BlsKeys>("b");
        check::<Tdh2Keys>("t");
        check::<CoinKeys>("c");
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::named(scheme.name()).unwrap(), scheme);
        }
        assert!(message(Scheme::named("rsa")).contains("none named \"rsa\""));
    }

    #[test]
    fn a_key_of_another_scheme_or_role_is_refused() {
        let (secret, other) = (share::<Tdh2Keys>(3), share::<CoinKeys>(3));
        let public = secret.public::<Tdh2Keys>().unwrap();
        let key = GroupKey::<Tdh2Keys>::new(*public.point()).unwrap();
        let scalar = secret.scalar::<CoinKeys>().err().unwrap().to_string();
        assert_eq!(
            scalar,
            "key: it is a secret share of a threshold encryption key, a secret share of a coin is needed"
        );
        assert!(message(other.public::<Tdh2Keys>()).contains("it is a secret share of a coin"));
        assert!(message(PublicShare::<CoinKeys>::from_bytes(&public.to_bytes())).contains("a public share of a coin"));
        assert!(
            message(GroupKey::<CoinKeys>::from_bytes(&key.to_bytes())).contains("a public key of a coin is needed")
        );
        assert!(message(GroupKey::<Tdh2Keys>::from_bytes(&public.to_bytes())).contains("it is a public share"));
        for bytes in [public.to_bytes(), key.to_bytes()] {
            assert!(message(SecretShare::from_bytes(&bytes)).contains("a secret share is needed"));
        }
        assert!(message(SecretShare::from_bytes(b"??")).contains("of no known type"));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let secret = share::<Tdh2Keys>(3);
        let bytes = secret.to_bytes();
        for len in 0..bytes.len() {
            assert!(SecretShare::from_bytes(&bytes[..len]).is_err());
        }
        assert!(message(SecretShare::from_bytes(&[&bytes[..], b"0"].concat())).contains("37 bytes"));
        let zero = [&bytes[..2], &[0, 0], &bytes[4..]].concat();
        assert!(message(SecretShare::from_bytes(&zero)).contains("0 is the index of no party"));
        assert!(message(SecretShare::new::<Tdh2Keys>(0, &ScalarOf::<Tdh2Keys>::ONE)).contains("0 is the index"));
        let high = [&bytes[..4], &[255; 32]].concat();
        assert!(message(SecretShare::from_bytes(&high)).contains("below the order"));

        let public = secret.public::<Tdh2Keys>().unwrap().to_bytes();
        for len in 0..public.len() {
            assert!(PublicShare::<Tdh2Keys>::from_bytes(&public[..len]).is_err());
            assert!(GroupKey::<Tdh2Keys>::from_bytes(&[b"tp", &public[4..len.max(4)]].concat()).is_err());
        }
        let neutral = [&public[..4], &[0; 32]].concat();
        assert!(message(PublicShare::<Tdh2Keys>::from_bytes(&neutral)).contains("neutral"));
        assert!(
            message(PublicShare::<Tdh2Keys>::from_bytes(&[&public[..2], &[0, 0], &public[4..]].concat()))
                .contains("0 is the index")
        );
        assert!(message(GroupKey::<Tdh2Keys>::new(Ristretto::identity())).contains("neutral"));
        assert!(message(PublicShare::<Tdh2Keys>::new(3, Ristretto::identity())).contains("neutral"));
        assert!(message(GroupKey::<Tdh2Keys>::from_bytes(&[&b"tp"[..], &[0; 32]].concat())).contains("neutral"));
    }

    #[test]
    fn a_share_that_goes_is_wiped() {
        let mut secret = std::mem::ManuallyDrop::new(share::<CoinKeys>(7));
        let place: *const [u8; 32] = &*secret.scalar;
        // SAFETY: the share is live, nothing else drops it, and it is never used as a share after.
        unsafe { std::ptr::drop_in_place::<SecretShare>(&mut *secret) };
        // SAFETY: the memory is `secret`'s own, which lives on, and holds bytes without a type of their own.
        assert_eq!(unsafe { std::ptr::read_volatile(place) }, [0; 32]);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = share::<CoinKeys>(7);
        assert_eq!(format!("{secret:?}"), "<SecretShare 7 of coin>");
    }
}
