//! Shares that prove themselves: x·B for a secret share x and a base B, with a proof that x is the logarithm of the
//! public share too (Chaum, Pedersen 1992; made non-interactive as Fiat and Shamir did).
//!
//! One form for decryption shares ([`super::tdh2`]) and coin shares ([`super::coin`]): index (u16, little-endian) ‖ value
//! x·B ‖ K = k·G ‖ L = k·B ‖ z = k + c·x, where c is 128 bits of a hash of everything. The proof holds its commitments
//! K and L instead of c: longer by 48 bytes, but then one multiscalar multiplication checks many (a random linear
//! combination of all equations), and the bad ones are found by bisection.
//!
//! What is secret (x, k) is multiplied in constant time; what is checked is public, and the time tells about it.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use zeroize::{Zeroize, Zeroizing};

use super::polynomial::{PARTIES_MAX, lagrange_at_zero};
use super::ristretto::Ristretto;
use super::share::{INDEX_LEN, Keys, PublicShare};
use crate::crypto::hash::{Digest, Hasher};
use crate::crypto::typed::{self, PREFIX_LEN};
use crate::error::{Error, Result};

/// Bytes of a share.
pub const SHARE_LEN: usize = 2 + 4 * 32;

/// Bytes of a challenge: as sound as the group is strong.
pub(super) const CHALLENGE_LEN: usize = 16;

/// Below this many shares a combination is dearer than checking each.
const COMBINE_MIN: usize = 3;

/// What shares are for: names and hash contexts.
pub(super) struct Domain {
    /// Opens messages.
    pub name: &'static str,
    /// Of what a share is called.
    pub share: &'static str,
    /// Context of the challenge.
    pub challenge: &'static str,
    /// Context of the nonce.
    pub nonce: &'static str,
    /// Context of a batch's coefficients.
    pub batch: &'static str,
}

/// What shares of one thing are made and checked against.
pub(super) struct Subject {
    /// What they are for.
    pub domain: &'static Domain,
    /// Hash of what the shares are bound to, which determines `base`.
    pub binding: Digest,
    /// B.
    pub base: RistrettoPoint,
}

/// What one party's shares are checked against: x·G, decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verifier {
    point: RistrettoPoint,
    bytes: CompressedRistretto,
}

impl Verifier {
    /// Reads the public share of the party with this index.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no public share of the scheme, or another party's.
    pub fn new<K: Keys<Group = Ristretto>>(index: u16, public_share: &[u8]) -> Result<Self> {
        let read = PublicShare::<K>::from_bytes(public_share)?;
        if read.index() != index {
            return Err(Error::input(format!(
                "{}: the public share of the party with index {} stands where that of index {index} is needed",
                K::SCHEME.name(),
                read.index()
            )));
        }
        let mut bytes = CompressedRistretto::default();
        bytes.0.copy_from_slice(&public_share[PREFIX_LEN + INDEX_LEN..]);
        Ok(Self { point: *read.point(), bytes })
    }

    /// The point.
    pub fn point(&self) -> RistrettoPoint {
        self.point
    }

    /// Reads the public share of a party out of those of all, which stand by index from 1 on.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn of<K: Keys<Group = Ristretto>, S: AsRef<[u8]>>(public_shares: &[S], index: u16) -> Result<Self> {
        let place = public_shares.get(usize::from(index).wrapping_sub(1));
        let none = || Error::input(format!("{}: there is no public share of index {index}", K::SCHEME.name()));
        Self::new::<K>(index, place.ok_or_else(none)?.as_ref())
    }
}

/// A share's parts, well formed but not checked against anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    index: u16,
    /// x·B.
    pub value: RistrettoPoint,
    /// The encodings of x·B, K and L.
    points: [CompressedRistretto; 3],
    z: Scalar,
}

impl Share {
    /// Whose it says it is.
    pub fn index(&self) -> u16 {
        self.index
    }
}

/// The index that a share says it is of. Nothing else of it is looked at.
///
/// # Errors
/// [`Error::Input`] if it has not the length of a share.
pub fn share_index(share: &[u8]) -> Result<u16> {
    match share {
        [low, high, ..] if share.len() == SHARE_LEN => Ok(u16::from_le_bytes([*low, *high])),
        _ => Err(Error::input(format!("share: {} bytes, exactly {SHARE_LEN} are needed", share.len()))),
    }
}

impl Domain {
    /// Reads a share.
    pub fn parse(&self, bytes: &[u8]) -> Result<Share> {
        let index = share_index(bytes).map_err(|error| Error::input(format!("{}: a {error}", self.name)))?;
        let wrong = |what: &str| {
            Error::verification(format!("{}: the {} of the party with index {index}: {what}", self.name, self.share))
        };
        let mut points = [CompressedRistretto::default(); 3];
        for (point, bytes) in points.iter_mut().zip(bytes[2..98].chunks_exact(32)) {
            point.0.copy_from_slice(bytes);
        }
        let mut z = [0; 32];
        z.copy_from_slice(&bytes[98..]);
        let z =
            Option::from(Scalar::from_canonical_bytes(z)).ok_or_else(|| wrong("z is not below the group's order"))?;
        let value = points[0].decompress().filter(|point| !point.is_identity());
        let value = value.ok_or_else(|| wrong("its value is no point other than the neutral element"))?;
        Ok(Share { index, value, points, z })
    }

    /// What a wrong proof is refused with.
    fn misfit(&self, index: u16) -> Error {
        let Self { name, share, .. } = self;
        Error::verification(format!(
            "{name}: the {share} of the party with index {index}: its proof does not fit the party's public share"
        ))
    }
}

impl Subject {
    /// The share of the party with the index and the secret.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the operating system gives no randomness.
    pub fn share(&self, index: u16, secret: &Scalar) -> Result<[u8; SHARE_LEN]> {
        let k = self.nonce(secret)?;
        // Encoded together as doubles, which is one inversion for all: halves go in.
        let (mut half_secret, mut half_k) = (secret.div_by_2(), k.div_by_2());
        let mut halves = [
            RistrettoPoint::mul_base(&half_secret),
            self.base * half_secret,
            RistrettoPoint::mul_base(&half_k),
            self.base * half_k,
        ];
        let encoded = RistrettoPoint::double_and_compress_batch(&halves);
        half_secret.zeroize();
        half_k.zeroize();
        halves.zeroize();
        let mut out = [0; SHARE_LEN];
        out[..2].copy_from_slice(&index.to_le_bytes());
        for (place, point) in out[2..98].chunks_exact_mut(32).zip(&encoded[1..]) {
            place.copy_from_slice(&point.0);
        }
        let c = self.challenge(index, &encoded[0], &[encoded[1], encoded[2], encoded[3]]);
        out[98..].copy_from_slice((*k + c * secret).as_bytes());
        Ok(out)
    }

    /// Checks one share against the public share of the party that it says it is of.
    ///
    /// # Errors
    /// [`Error::Verification`] if its proof is wrong.
    pub fn verify(&self, verifier: &Verifier, share: &Share) -> Result<()> {
        count(1);
        let c = self.challenge(share.index, &verifier.bytes, &share.points);
        let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&c, &-verifier.point, &Scalar::ZERO)
            + RistrettoPoint::mul_base(&share.z);
        let second = RistrettoPoint::vartime_multiscalar_mul([share.z, c], [self.base, -share.value]);
        if first.compress() == share.points[1] && second.compress() == share.points[2] {
            return Ok(());
        }
        Err(self.domain.misfit(share.index))
    }

    /// Checks many shares together; a verdict for each, the same that [`Subject::verify`] gives.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the operating system gives no randomness.
    pub fn verify_many(&self, items: &[(Verifier, Share)]) -> Result<Vec<Result<()>>> {
        if items.len() < COMBINE_MIN {
            return Ok(items.iter().map(|(verifier, share)| self.verify(verifier, share)).collect());
        }
        let mut verdicts: Vec<Result<()>> = Vec::with_capacity(items.len());
        let mut open = Vec::with_capacity(items.len());
        let coefficients = self.coefficients(items)?;
        for (at, ((verifier, share), [a, b])) in items.iter().zip(coefficients).enumerate() {
            let commitments = share.points[1].decompress().zip(share.points[2].decompress());
            verdicts.push(commitments.map(|_| ()).ok_or_else(|| self.domain.misfit(share.index)));
            if let Some((k, l)) = commitments {
                let c = self.challenge(share.index, &verifier.bytes, &share.points);
                let scalars = [a, b, a * c, b * c];
                let points = [k, l, verifier.point, share.value];
                open.push(Equations { at, scalars, points, bases: [a * share.z, b * share.z] });
            }
        }
        let (mut bad, mut budget) = (Vec::new(), 4 * open.len());
        self.bisect(items, &open, false, &mut budget, &mut bad);
        for at in bad {
            verdicts[at] = Err(self.domain.misfit(items[at].1.index));
        }
        Ok(verdicts)
    }

    /// The positions of the bad ones, by halves. With the budget spent (many are bad) each is checked alone, so that a
    /// hostile batch costs little more than its shares do one by one. `guilty` says that there is a bad one, as is known
    /// of the right half once the left is found to be without.
    fn bisect(
        &self,
        items: &[(Verifier, Share)],
        open: &[Equations],
        guilty: bool,
        budget: &mut usize,
        bad: &mut Vec<usize>,
    ) {
        if open.len() < COMBINE_MIN || *budget < open.len() {
            let is_bad = |at: &usize| self.verify(&items[*at].0, &items[*at].1).is_err();
            bad.extend(open.iter().map(|one| one.at).filter(is_bad));
            return;
        }
        if !guilty {
            *budget -= open.len();
            if self.combination_holds(open) {
                return;
            }
        }
        let (left, right) = open.split_at(open.len() / 2);
        let before = bad.len();
        self.bisect(items, left, false, budget, bad);
        self.bisect(items, right, bad.len() == before, budget, bad);
    }

    /// Whether Σ a·(K + c·X − z·G) + b·(L + c·Y − z·B) = 0.
    fn combination_holds(&self, open: &[Equations]) -> bool {
        count(open.len());
        let mut scalars = Vec::with_capacity(4 * open.len() + 2);
        let mut points = Vec::with_capacity(4 * open.len() + 2);
        scalars.extend([Scalar::ZERO; 2]);
        points.extend([RISTRETTO_BASEPOINT_POINT, self.base]);
        for one in open {
            scalars[0] -= one.bases[0];
            scalars[1] -= one.bases[1];
            scalars.extend(one.scalars);
            points.extend(one.points);
        }
        RistrettoPoint::vartime_multiscalar_mul(scalars, points).is_identity()
    }

    /// The first `threshold` shares that are right, in their order; none is checked that is not needed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there are fewer, with the indices of those that are wrong; what `verifier` gives.
    pub fn first_good<S: AsRef<[u8]>>(
        &self,
        threshold: usize,
        shares: &[S],
        verifier: impl Fn(u16) -> Result<Verifier>,
    ) -> Result<Vec<Share>> {
        let (mut good, mut wrong) = (Vec::with_capacity(threshold), Vec::new());
        let mut rest = shares.iter();
        while good.len() < threshold {
            let mut next = Vec::with_capacity(threshold - good.len());
            for share in rest.by_ref() {
                match self.domain.parse(share.as_ref()) {
                    Ok(share) => next.push((verifier(share.index)?, share)),
                    Err(_) => wrong.push(share_index(share.as_ref())?),
                }
                if next.len() == threshold - good.len() {
                    break;
                }
            }
            if next.is_empty() {
                return Err(too_few(self.domain, threshold, good.len(), &wrong));
            }
            for (verdict, (_, share)) in self.verify_many(&next)?.into_iter().zip(next) {
                match verdict {
                    Ok(()) => good.push(share),
                    Err(_) => wrong.push(share.index),
                }
            }
        }
        Ok(good)
    }

    /// c of a share: 128 bits.
    fn challenge(&self, index: u16, public: &CompressedRistretto, points: &[CompressedRistretto; 3]) -> Scalar {
        let mut hasher = Hasher::new(self.domain.challenge);
        hasher.fixed(&self.binding).fixed(&index.to_le_bytes()).fixed(public.as_bytes());
        points.iter().for_each(|point| {
            hasher.fixed(point.as_bytes());
        });
        short_scalar(&hasher.finish())
    }

    /// k: a hash of the secret, of what the share is of and of fresh randomness, so that neither a broken generator nor a
    /// repeated one gives the secret away.
    fn nonce(&self, secret: &Scalar) -> Result<Zeroizing<Scalar>> {
        let fresh = fresh(self.domain.name)?;
        let mut wide = Zeroizing::new([0; 64]);
        let mut hasher = Hasher::new(self.domain.nonce);
        hasher.fixed(secret.as_bytes()).fixed(&self.binding).fixed(fresh.as_slice()).fill(wide.as_mut());
        Ok(Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide)))
    }

    /// Two 128-bit coefficients each, from OS randomness and everything that is being checked.
    fn coefficients(&self, items: &[(Verifier, Share)]) -> Result<Vec<[Scalar; 2]>> {
        let mut hasher = Hasher::new(self.domain.batch);
        hasher.fixed(fresh(self.domain.name)?.as_slice()).fixed(&self.binding);
        for (verifier, share) in items {
            hasher.fixed(&share.index.to_le_bytes()).fixed(verifier.bytes.as_bytes()).fixed(share.z.as_bytes());
            share.points.iter().for_each(|point| {
                hasher.fixed(point.as_bytes());
            });
        }
        let mut bytes = vec![0; 2 * CHALLENGE_LEN * items.len()];
        hasher.fill(&mut bytes);
        let coefficient = |bytes: &[u8]| {
            let mut wide = [0; 32];
            wide[..CHALLENGE_LEN].copy_from_slice(bytes);
            wide[0] |= 1; // never zero, which would leave an equation out
            Scalar::from_bytes_mod_order(wide)
        };
        let pair = |bytes: &[u8]| [coefficient(&bytes[..CHALLENGE_LEN]), coefficient(&bytes[CHALLENGE_LEN..])];
        Ok(bytes.chunks_exact(2 * CHALLENGE_LEN).map(pair).collect())
    }
}

/// The two equations of a share, times its coefficients, and where it stands.
struct Equations {
    at: usize,
    scalars: [Scalar; 4],
    points: [RistrettoPoint; 4],
    bases: [Scalar; 2],
}

/// What says that too few shares are right; those that are wrong are named.
pub(super) fn too_few(domain: &Domain, threshold: usize, good: usize, wrong: &[u16]) -> Error {
    let mut what = format!("{}: {}s that are right", domain.name, domain.share);
    if !wrong.is_empty() {
        let mut sorted = wrong.to_vec();
        sorted.sort_unstable();
        let named: Vec<String> = sorted.iter().map(u16::to_string).collect();
        what += &format!(" (wrong are those of the parties with index {})", named.join(", "));
    }
    Error::unavailable(what, threshold as u64, good as u64)
}

/// x·B of the key that shares with these values are of: as many as the threshold are needed.
pub(super) fn interpolate(shares: &[Share]) -> Result<RistrettoPoint> {
    #[cfg(test)]
    INTERPOLATED.with(|interpolated| interpolated.set(interpolated.get() + 1));
    let indices: Vec<u16> = shares.iter().map(|share| share.index).collect();
    let weights: Vec<Scalar> = lagrange_at_zero(&indices)?;
    Ok(RistrettoPoint::vartime_multiscalar_mul(weights, shares.iter().map(|share| share.value)))
}

/// 32 bytes from the operating system; `name` opens the message if there are none.
pub(super) fn fresh(name: &str) -> Result<Zeroizing<[u8; 32]>> {
    let mut fresh = Zeroizing::new([0; 32]);
    getrandom::fill(fresh.as_mut())
        .map_err(|error| Error::unavailable(format!("{name}: randomness of the operating system ({error})"), 32, 0))?;
    Ok(fresh)
}

/// The first 128 bits of a hash as a scalar.
pub(super) fn short_scalar(hash: &Digest) -> Scalar {
    let mut wide = [0; 32];
    wide[..CHALLENGE_LEN].copy_from_slice(&hash[..CHALLENGE_LEN]);
    Scalar::from_bytes_mod_order(wide)
}

/// Checks what a combination is made of: the numbers, the kind of every public share, the index of every share.
///
/// # Errors
/// [`Error::Input`] if the threshold or the number of parties is out of range, a public share is of another kind or length,
/// an index is 0, above the number of parties or stands twice, or a share has another length.
pub(super) fn check<K: Keys, P: AsRef<[u8]>, S: AsRef<[u8]>>(
    domain: &Domain,
    threshold: u16,
    public_shares: &[P],
    shares: &[S],
) -> Result<()> {
    let wrong = |what: String| Err(Error::input(format!("{}: {what}", domain.name)));
    let parties = public_shares.len();
    if parties > PARTIES_MAX {
        return wrong(format!("{parties} public shares, at most {PARTIES_MAX} are possible"));
    }
    if threshold == 0 || usize::from(threshold) > parties {
        return wrong(format!("the threshold {threshold} of {parties} parties: 1 to {parties} is needed"));
    }
    for public_share in public_shares {
        typed::decode(K::SCHEME.public_share(), public_share.as_ref(), PublicShare::<K>::LEN)?;
    }
    let mut seen = vec![false; parties + 1];
    for share in shares {
        let index = share_index(share.as_ref()).map_err(|error| Error::input(format!("{}: a {error}", domain.name)))?;
        match seen.get_mut(usize::from(index)) {
            _ if index == 0 => return wrong(format!("a {}: 0 is the index of no party", domain.share)),
            None => return wrong(format!("a {} of index {index}: there are {parties} parties", domain.share)),
            Some(true) => return wrong(format!("two {}s of the party with index {index}", domain.share)),
            Some(seen) => *seen = true,
        }
    }
    Ok(())
}

/// A verdict for each of many shares, which may be of any bytes.
///
/// # Errors
/// [`Error::Unavailable`] if the operating system gives no randomness.
pub(super) fn verdicts<S: AsRef<[u8]>>(
    subject: &Subject,
    verifier: impl Fn(u16) -> Result<Verifier>,
    shares: &[S],
) -> Result<Vec<Result<()>>> {
    let read = |share: &S| {
        let share = subject.domain.parse(share.as_ref())?;
        Ok((verifier(share.index)?, share))
    };
    let read: Vec<Result<(Verifier, Share)>> = shares.iter().map(read).collect();
    let formed: Vec<_> = read.iter().filter_map(|item| item.as_ref().ok().copied()).collect();
    let mut verdicts = subject.verify_many(&formed)?.into_iter();
    Ok(read.into_iter().map(|item| item.and_then(|_| verdicts.next().unwrap_or(Ok(())))).collect())
}

#[cfg(test)]
thread_local! {
    /// How many shares were checked, alone or in combinations, each time counted.
    pub(super) static CHECKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };

    /// How many times shares were put together.
    pub(super) static INTERPOLATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn count(shares: usize) {
    CHECKED.with(|checked| checked.set(checked.get() + shares));
}

#[cfg(not(test))]
fn count(_: usize) {}
