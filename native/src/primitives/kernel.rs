//! Which set of instructions a process uses where several give the same bytes: the best that the machine has, or the one
//! that an environment variable names.

use std::ffi::OsString;

use crate::error::{Error, Result};

/// The kernel that the environment variable `variable` names, or else the best. A name that is not among those there are
/// is an error, since a measurement or a test under another kernel than the one it asked for would mislead; an empty name
/// asks for none.
///
/// `available` are the kernels of this machine, the best first, with their names; there is at least one.
pub fn from_environment<K: Copy>(owner: &str, variable: &str, available: &[(&str, K)]) -> Result<K> {
    choose(owner, variable, std::env::var_os(variable), available)
}

fn choose<K: Copy>(owner: &str, variable: &str, asked: Option<OsString>, available: &[(&str, K)]) -> Result<K> {
    let asked = asked.filter(|name| !name.is_empty());
    let chosen = match &asked {
        None => available.first(),
        Some(asked) => available.iter().find(|(name, _)| asked == *name),
    };
    chosen.map(|(_, kernel)| *kernel).ok_or_else(|| {
        let names: Vec<&str> = available.iter().map(|(name, _)| *name).collect();
        let asked = asked.unwrap_or_default();
        Error::input(format!("{owner}: {variable} is {asked:?}; the kernels of this machine are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_picked_or_named_or_refused() {
        let available = [("wide", 2), ("narrow", 1), ("scalar", 0)];
        let choose = |asked: Option<&str>| choose("ec", "EC_KERNEL", asked.map(OsString::from), &available);
        assert_eq!(choose(None), Ok(2));
        assert_eq!(choose(Some("")), Ok(2));
        for (name, kernel) in available {
            assert_eq!(choose(Some(name)), Ok(kernel));
        }
        for wrong in ["neon", "Scalar", " scalar", "wid"] {
            let message = choose(Some(wrong)).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("ec: EC_KERNEL is {wrong:?}; the kernels of this machine are wide, narrow, scalar")
            );
        }
    }
}
