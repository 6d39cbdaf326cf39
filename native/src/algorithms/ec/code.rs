//! The codes that a manifest may name, and which of them a (k, p) takes.

use super::gf8;
use crate::error::{Error, Result};

/// The most data and the most parity fragments of any code.
pub const COUNT_MAX: usize = 32_768;

/// A code. Its id is in every manifest and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// GF(2¹⁶), FFT; fragments of even size; up to 32,768 data and as many parity fragments.
    Rs16,
    /// GF(2⁸), Cauchy; fragments of any size; up to 256 fragments, of which up to 64 parity.
    Gf8,
}

impl Code {
    /// All of them, by id.
    pub const ALL: [Self; 2] = [Self::Rs16, Self::Gf8];

    /// The id in a manifest.
    pub fn id(self) -> u8 {
        match self {
            Self::Rs16 => 1,
            Self::Gf8 => 2,
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs16 => "rs16",
            Self::Gf8 => "gf8",
        }
    }

    /// The code of an id.
    pub fn from_id(id: u64) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|code| u64::from(code.id()) == id);
        found.ok_or_else(|| Error::input(format!("ec: code {id} is not known; 1 (rs16) and 2 (gf8) are")))
    }

    /// The code of a name.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|code| code.name() == name);
        found.ok_or_else(|| Error::input(format!("ec: code {name:?} is not known; \"rs16\" (1) and \"gf8\" (2) are")))
    }

    /// Checks that it has k data and p parity fragments.
    pub fn check(self, k: usize, p: usize) -> Result<()> {
        match self {
            _ if k == 0 || k > COUNT_MAX || p > COUNT_MAX => Err(Error::input(format!(
                "ec: k = {k}, p = {p}: 1 ≤ k ≤ {COUNT_MAX} and 0 ≤ p ≤ {COUNT_MAX} is needed"
            ))),
            Self::Gf8 if !is_small(k, p) => Err(Error::input(format!(
                "ec: k = {k}, p = {p}: gf8 needs k + p ≤ {} and p ≤ {}; rs16 has more",
                gf8::N_MAX,
                gf8::P_MAX
            ))),
            Self::Rs16 | Self::Gf8 => Ok(()),
        }
    }

    /// Bytes of every fragment of `length` bytes cut into k: length/k rounded up, for `rs16` to an even number; at least 1
    /// byte, for `rs16` 2.
    pub fn fragment_len(self, length: u64, k: usize) -> Result<usize> {
        self.check(k, 0)?;
        if length > super::LENGTH_MAX {
            return Err(Error::input(format!(
                "ec: a length of {length} bytes, at most {} is allowed",
                super::LENGTH_MAX
            )));
        }
        let each = length.div_ceil(k as u64).max(1);
        let each = match self {
            Self::Rs16 => each.next_multiple_of(2),
            Self::Gf8 => each,
        };
        usize::try_from(each)
            .map_err(|_| Error::input(format!("ec: fragments of {each} bytes do not fit this machine")))
    }
}

fn is_small(k: usize, p: usize) -> bool {
    k + p <= gf8::N_MAX && p <= gf8::P_MAX
}

/// The code for k data and p parity fragments: `gf8` where it reaches, else `rs16`.
pub fn code_for(k: usize, p: usize) -> Result<Code> {
    Code::Rs16.check(k, p)?;
    Ok(if is_small(k, p) { Code::Gf8 } else { Code::Rs16 })
}
