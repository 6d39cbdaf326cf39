//! Which instructions code: picked once per process by what the processor has, or forced by an environment variable.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The environment variable that forces a kernel. It is read once, at the first use of a code.
pub const VARIABLE: &str = "CITY_CHAIN_EC_KERNEL";

/// A set of instructions. All give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// GFNI on registers of 512 bits (AVX-512F and BW).
    Gfni512,
    /// GFNI on registers of 256 bits (AVX2).
    Gfni256,
    /// Byte shuffles on registers of 256 bits.
    Avx2,
    /// Byte shuffles of aarch64.
    Neon,
    /// No SIMD at all, in either code.
    Scalar,
}

impl Kernel {
    /// All of them, the fastest first.
    pub const ALL: [Self; 5] = [Self::Gfni512, Self::Gfni256, Self::Avx2, Self::Neon, Self::Scalar];

    /// The name, as the environment variable takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gfni512 => "gfni512",
            Self::Gfni256 => "gfni256",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }

    /// Whether this processor has it.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => {
                std::arch::is_x86_feature_detected!("gfni")
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => std::arch::is_x86_feature_detected!("gfni") && std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Scalar => true,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Gfni512 | Self::Gfni256 | Self::Avx2 => false,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => false,
        }
    }

    /// The kernel of this process.
    pub fn of_process() -> Result<Self> {
        static CHOSEN: OnceLock<Result<Kernel>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| choose(std::env::var_os(VARIABLE).map(|name| name.to_string_lossy().into_owned())))
            .clone()
    }
}

/// The kernel that is `forced`, or the fastest that there is; an empty name forces nothing.
fn choose(forced: Option<String>) -> Result<Kernel> {
    let mut supported = Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported());
    let Some(name) = forced.filter(|name| !name.is_empty()) else {
        return Ok(supported.next().unwrap_or(Kernel::Scalar));
    };
    let refused = |why: &str| {
        let names: Vec<&str> = Kernel::ALL.iter().filter(|k| k.is_supported()).map(|k| k.name()).collect();
        Error::input(format!("ec: {VARIABLE} is {name:?}, {why}; this machine has {}", names.join(", ")))
    };
    match Kernel::ALL.into_iter().find(|kernel| kernel.name() == name) {
        None => Err(refused("which is no kernel")),
        Some(kernel) if !kernel.is_supported() => Err(refused("which this processor has not")),
        Some(kernel) => Ok(kernel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_picked_or_forced_or_refused() {
        let fastest = Kernel::ALL.into_iter().find(|kernel| kernel.is_supported()).unwrap();
        assert_eq!(choose(None).unwrap(), fastest);
        assert_eq!(choose(Some(String::new())).unwrap(), fastest);
        for kernel in Kernel::ALL {
            match choose(Some(kernel.name().to_owned())) {
                Ok(chosen) => assert!(chosen == kernel && kernel.is_supported()),
                Err(error) => {
                    assert!(!kernel.is_supported() && error.to_string().contains(kernel.name()), "{error}");
                }
            }
        }
        for wrong in ["fast", "Scalar", " scalar", "gfni"] {
            let message = choose(Some(wrong.to_owned())).unwrap_err().to_string();
            assert!(message.contains("no kernel") && message.contains("scalar"), "{message}");
        }
    }
}
