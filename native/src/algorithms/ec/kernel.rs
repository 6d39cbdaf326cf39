//! Which instructions code: picked once per process by what the processor has, or forced by an environment variable.

use std::sync::OnceLock;

use crate::error::Result;
use crate::primitives::kernel;

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
        let choose = || {
            let supported: Vec<_> = Self::ALL.into_iter().filter(|k| k.is_supported()).map(|k| (k.name(), k)).collect();
            kernel::from_environment("ec", VARIABLE, &supported)
        };
        CHOSEN.get_or_init(choose).clone()
    }
}
