//! The kernels of x86-64.

/// GFNI on 512 bits: one instruction multiplies 64 bytes, masks end a row.
pub(super) mod gfni512 {
    use std::arch::x86_64::*;

    use super::super::columns::{Group, kernel};
    use super::super::field::AFFINE;

    type Vector = __m512i;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Vector {
        _mm512_setzero_si512()
    }

    /// # Safety
    ///
    /// 64 bytes from `at` may be read.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(at: *const u8) -> Vector {
        // SAFETY: as the caller promises; the load needs no alignment.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    /// # Safety
    ///
    /// `count` < 64 bytes from `at` may be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn load_part(at: *const u8, count: usize) -> Vector {
        // SAFETY: as the caller promises; bytes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_epi8((1 << count) - 1, at.cast()) }
    }

    /// # Safety
    ///
    /// 64 bytes from `at` may be written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(at: *mut u8, vector: Vector) {
        // SAFETY: as the caller promises; the store needs no alignment.
        unsafe { _mm512_storeu_si512(at.cast(), vector) }
    }

    /// # Safety
    ///
    /// `count` < 64 bytes from `at` may be written.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn store_part(at: *mut u8, count: usize, vector: Vector) {
        // SAFETY: as the caller promises; bytes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_epi8(at.cast(), (1 << count) - 1, vector) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn split(vector: Vector) -> Vector {
        vector
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn factor(c: u8) -> Vector {
        _mm512_set1_epi64(AFFINE[usize::from(c)] as i64)
    }

    #[inline]
    #[target_feature(enable = "gfni,avx512f")]
    fn add_product(sum: Vector, x: Vector, c: Vector) -> Vector {
        _mm512_xor_si512(sum, _mm512_gf2p8affine_epi64_epi8::<0>(x, c))
    }

    kernel!(
        "gfni,avx512f,avx512bw",
        64,
        10,
        [1 x 8, 2 x 8, 3 x 6, 4 x 4, 5 x 4, 6 x 3, 7 x 3, 8 x 3, 9 x 2, 10 x 2]
    );
}

/// What both kernels of 256 bits share.
mod wide {
    use std::arch::x86_64::*;

    /// # Safety
    ///
    /// 32 bytes from `at` may be read.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn load(at: *const u8) -> __m256i {
        // SAFETY: as the caller promises; the load needs no alignment.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    /// # Safety
    ///
    /// `count` < 32 bytes from `at` may be read.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn load_part(at: *const u8, count: usize) -> __m256i {
        let mut whole = [0u8; 32];
        // SAFETY: as the caller promises, and `count` < 32 bytes fit into `whole`.
        unsafe { std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), count) };
        // SAFETY: `whole` has 32 bytes.
        unsafe { load(whole.as_ptr()) }
    }

    /// # Safety
    ///
    /// 32 bytes from `at` may be written.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn store(at: *mut u8, vector: __m256i) {
        // SAFETY: as the caller promises; the store needs no alignment.
        unsafe { _mm256_storeu_si256(at.cast(), vector) }
    }

    /// # Safety
    ///
    /// `count` < 32 bytes from `at` may be written.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn store_part(at: *mut u8, count: usize, vector: __m256i) {
        let mut whole = [0u8; 32];
        // SAFETY: `whole` has 32 bytes.
        unsafe { store(whole.as_mut_ptr(), vector) };
        // SAFETY: as the caller promises, and `count` < 32 bytes are in `whole`.
        unsafe { std::ptr::copy_nonoverlapping(whole.as_ptr(), at, count) };
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn zero() -> __m256i {
        _mm256_setzero_si256()
    }
}

/// GFNI on 256 bits.
pub(super) mod gfni256 {
    use std::arch::x86_64::*;

    use super::super::columns::{Group, kernel};
    use super::super::field::AFFINE;
    use super::wide::{load, load_part, store, store_part, zero};

    #[inline]
    #[target_feature(enable = "avx2")]
    fn split(vector: __m256i) -> __m256i {
        vector
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn factor(c: u8) -> __m256i {
        _mm256_set1_epi64x(AFFINE[usize::from(c)] as i64)
    }

    #[inline]
    #[target_feature(enable = "gfni,avx2")]
    fn add_product(sum: __m256i, x: __m256i, c: __m256i) -> __m256i {
        _mm256_xor_si256(sum, _mm256_gf2p8affine_epi64_epi8::<0>(x, c))
    }

    kernel!("gfni,avx2", 32, 6, [1 x 6, 2 x 4, 3 x 3, 4 x 2, 5 x 2, 6 x 2]);
}

/// AVX2: products by two shuffles of 16-byte tables (Plank, Greenan, Miller 2013).
pub(super) mod avx2 {
    use std::arch::x86_64::*;

    use super::super::columns::{Group, kernel};
    use super::super::field::NIBBLES;
    use super::wide::{load, load_part, store, store_part, zero};

    /// The low and the high half of every byte.
    type Split = (__m256i, __m256i);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn split(vector: __m256i) -> Split {
        let mask = _mm256_set1_epi8(15);
        (_mm256_and_si256(vector, mask), _mm256_and_si256(_mm256_srli_epi64::<4>(vector), mask))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn factor(c: u8) -> Split {
        let table = &NIBBLES[usize::from(c)];
        // SAFETY: the table has 32 bytes: 16 for each half.
        unsafe {
            let (low, high) = (_mm_loadu_si128(table.as_ptr().cast()), _mm_loadu_si128(table.as_ptr().add(16).cast()));
            (_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_product(sum: __m256i, x: Split, c: Split) -> __m256i {
        let (low, high) = (_mm256_shuffle_epi8(c.0, x.0), _mm256_shuffle_epi8(c.1, x.1));
        _mm256_xor_si256(sum, _mm256_xor_si256(low, high))
    }

    kernel!("avx2", 32, 4, [1 x 3, 2 x 2, 3 x 2, 4 x 1]);
}
