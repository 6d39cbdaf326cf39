//! What a validator signs with.

use crate::crypto::bls;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::hex;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;

/// A validator's keys. Neither is ever shown.
#[derive(Clone)]
pub struct Keys {
    /// Signs all messages.
    pub signing: SigningKey,
    /// Signs the shares of quorum certificates; for a committee with aggregate keys.
    pub aggregate: Option<bls::SecretKey>,
}

impl From<SigningKey> for Keys {
    fn from(signing: SigningKey) -> Self {
        Self { signing, aggregate: None }
    }
}

impl From<(SigningKey, bls::SecretKey)> for Keys {
    fn from((signing, aggregate): (SigningKey, bls::SecretKey)) -> Self {
        Self { signing, aggregate: Some(aggregate) }
    }
}

impl Keys {
    /// The place that they belong to.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none, or an aggregate key is missing, too many or another member's.
    pub(super) fn place(&self, committee: &Committee) -> Result<u16> {
        let public = self.signing.public();
        let Some(me) = committee.position(&public) else {
            return Err(Error::input(format!("hotstuff: {} is not in the committee", hex(&public))));
        };
        let expected = committee.aggregates().and_then(|keys| keys.get(usize::from(me)));
        match (expected.map(bls::PublicKey::to_bytes), self.aggregate.as_ref().map(bls::SecretKey::public)) {
            (expected, own) if expected == own => Ok(me),
            (Some(_), None) => Err(Error::input("hotstuff: the committee has aggregate keys, and this validator none")),
            (None, _) => Err(Error::input("hotstuff: an aggregate key, and the committee has none")),
            (Some(expected), _) => Err(Error::input(format!(
                "hotstuff: the aggregate key is not that of place {me}, which is {}",
                hex(&expected)
            ))),
        }
    }
}
