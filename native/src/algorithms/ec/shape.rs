//! The sizes that k, p, a code and a length make.

use super::code::Code;
use crate::error::{Error, Result};

/// The most bytes of memory that one call may need for its workspace and its parity: 64 GiB.
pub const WORK_MAX: u64 = 64 << 30;

/// Bytes of workspace from which on it is asked for once before, so that too little memory is an error.
const PROBE_MIN: usize = 64 << 20;

/// The sizes of an encoding, checked before anything is allocated for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    code: Code,
    k: usize,
    p: usize,
    length: usize,
    fragment_len: usize,
}

/// Where a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the input, from this byte on.
    Input(usize),
    /// In what was made for it (padded copies, then parity), from this byte on.
    Made(usize),
}

impl Shape {
    /// The shape of `length` bytes in k + p fragments.
    pub fn new(length: u64, k: usize, p: usize, code: Code) -> Result<Self> {
        code.check(k, p)?;
        let fragment_len = code.fragment_len(length, k)?;
        check_work(code, k, p, fragment_len)?;
        let length = usize::try_from(length)
            .map_err(|_| Error::input(format!("ec: a length of {length} bytes does not fit this machine")))?;
        Ok(Self { code, k, p, length, fragment_len })
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// How many data fragments there are.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many parity fragments there are.
    pub fn p(&self) -> usize {
        self.p
    }

    /// How many fragments there are.
    pub fn n(&self) -> usize {
        self.k + self.p
    }

    /// Bytes of the input.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of every fragment.
    pub fn fragment_len(&self) -> usize {
        self.fragment_len
    }

    /// How many data fragments are wholly inside the input; those after them are padded copies.
    pub fn whole(&self) -> usize {
        self.length / self.fragment_len
    }

    /// Bytes of the padded copies.
    pub fn tail_len(&self) -> usize {
        (self.k - self.whole()) * self.fragment_len
    }

    /// Bytes of all parity.
    pub fn parity_len(&self) -> usize {
        self.p * self.fragment_len
    }

    /// Bytes that encoding makes: the padded copies, then all parity.
    pub fn made_len(&self) -> usize {
        self.tail_len() + self.parity_len()
    }

    /// Where fragment `index` is; `None` from n on.
    pub fn place(&self, index: usize) -> Option<Place> {
        let whole = self.whole();
        match index {
            _ if index < whole => Some(Place::Input(index * self.fragment_len)),
            _ if index < self.n() => Some(Place::Made((index - whole) * self.fragment_len)),
            _ => None,
        }
    }
}

/// Refuses what would need too much memory. The workspace of `rs16` rounds both counts up to powers of two and the size up
/// to 64 bytes, so few bytes in many fragments can ask for a lot; `gf8` needs room for its parity alone.
fn check_work(code: Code, k: usize, p: usize, size: usize) -> Result<()> {
    let work = match code {
        Code::Rs16 => {
            let fragments = (k.next_power_of_two() + p.next_power_of_two()).next_power_of_two();
            fragments.saturating_mul(size.next_multiple_of(64))
        }
        Code::Gf8 => (p + 1).saturating_mul(size),
    };
    let refused = |why: String| Error::input(format!("ec: k = {k}, p = {p}, fragments of {size} bytes: {why}"));
    if work as u64 > WORK_MAX {
        return Err(refused(format!("{work} bytes of memory are needed, at most {WORK_MAX} are allowed")));
    }
    if work >= PROBE_MIN {
        // A failed allocation inside the code would end the process; here it is an error.
        Vec::<u8>::new()
            .try_reserve_exact(work)
            .map_err(|_| refused(format!("{work} bytes of memory are not there")))?;
    }
    Ok(())
}
