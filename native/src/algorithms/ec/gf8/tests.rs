use proptest::prelude::*;

use super::super::{Code, Codec, Fragments};
use super::*;

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported())
}

/// The page's input: byte i is (7i + 1) mod 256.
fn input(length: usize) -> Vec<u8> {
    (0..length).map(|i| (7 * i + 1) as u8).collect()
}

fn codec(kernel: Kernel, k: usize, p: usize) -> Codec {
    Codec::with_kernel(k, p, Some(Code::Gf8), kernel).unwrap()
}

#[test]
fn known_answers_of_gf8() {
    // (100, 100) has more parity than the code offers in manifests; the matrix is checked by itself.
    for (k, p, first, last) in [
        (4, 2, "514aaabb74b6dfee", "f92bcb1b81282a04"),
        (10, 4, "95973338195f4d4e", "5dbffa4f05892465"),
        (100, 100, "590e3876cdc15d20", "6f945df51a0619d8"),
    ] {
        for kernel in kernels() {
            let data = input(k * 8);
            let matrix = Matrix::encoding(kernel, k, p);
            let mut parity = vec![MaybeUninit::new(0); p * 8];
            let mut pass = Pass::new(&matrix, 8, data.chunks_exact(8), parity.chunks_exact_mut(8)).unwrap();
            pass.run(8);
            assert_eq!(hex::encode(pass.output(0, 0, 8)), first, "({k}, {p}) by {kernel:?}");
            assert_eq!(hex::encode(pass.output(p - 1, 0, 8)), last, "({k}, {p}) by {kernel:?}");
            if p <= P_MAX {
                let encoded = codec(kernel, k, p).encode(&data).unwrap().parity().to_vec();
                assert_eq!(
                    (hex::encode(&encoded[..8]), hex::encode(&encoded[p * 8 - 8..])),
                    (first.into(), last.into())
                );
            }
        }
    }
}

#[test]
fn every_survivor_set_up_to_sixteen_restores() {
    // The matrix of restoring is a left inverse of the generator for every set: fragments of one byte show it.
    let kernel = Kernel::of_process().unwrap();
    for n in 1..=16usize {
        for k in 1..=n {
            let data = input(k);
            let encoded = codec(kernel, k, n - k).encode(&data).unwrap().parity().to_vec();
            let all: Vec<u8> = data.iter().chain(&encoded).copied().collect();
            let every: Vec<usize> = (0..n).collect();
            for mask in (0u32..1 << n).filter(|mask| mask.count_ones() as usize == k) {
                let survivors: Vec<usize> = (0..n).filter(|index| mask >> index & 1 == 1).collect();
                let matrix = Matrix::restoring(kernel, k, &survivors, &every);
                let mut out = vec![MaybeUninit::new(0); n];
                let sources = survivors.iter().map(|index| &all[*index..=*index]);
                let mut pass = Pass::new(&matrix, 1, sources, out.chunks_exact_mut(1)).unwrap();
                pass.run(1);
                for (index, expected) in all.iter().enumerate() {
                    assert_eq!(pass.output(index, 0, 1), [*expected], "({k}, {n}) {mask:b} {index}");
                }
            }
        }
    }
}

#[test]
fn every_kernel_equals_scalar_at_every_length_and_count() {
    for kernel in kernels() {
        // Lengths around every vector and block, for a group of each size.
        for (k, p) in (1..=24).map(|p| (3, p)).chain([(1, 1), (192, 64), (256, 0), (255, 1)]) {
            for size in [1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257, 511, 513, 683, 1025] {
                let data = input(k * size);
                let parity = |kernel| codec(kernel, k, p).encode(&data).unwrap().parity().to_vec();
                assert!(parity(kernel) == parity(Kernel::Scalar), "{kernel:?} ({k}, {p}) {size}");
            }
        }
        let data = input(6 * (3 * BLOCK + 77));
        let parity = |kernel| codec(kernel, 6, 4).encode(&data).unwrap().parity().to_vec();
        assert!(parity(kernel) == parity(Kernel::Scalar), "{kernel:?}");
    }
}

#[test]
fn columns_may_be_made_in_any_steps() {
    let data = input(5 * 1000);
    let whole = codec(Kernel::Scalar, 5, 3).encode(&data).unwrap().parity().to_vec();
    for kernel in kernels() {
        let matrix = Matrix::encoding(kernel, 5, 3);
        let mut parity = vec![MaybeUninit::new(0); 3000];
        let mut pass = Pass::new(&matrix, 1000, data.chunks_exact(1000), parity.chunks_exact_mut(1000)).unwrap();
        for to in [0, 1, 100, 100, 355, 999, 2000] {
            pass.run(to);
            assert_eq!(pass.output(2, 0, to.min(1000)), &whole[2000..2000 + to.min(1000)]);
            assert_eq!(pass.output(2, 0, to.min(1000) + 1), [0u8; 0], "what is not made is not shown");
        }
        assert_eq!(pass.output(3, 0, 1), [0u8; 0]);
    }
}

#[test]
fn what_does_not_fit_a_matrix_is_refused() {
    let data = input(16);
    let matrix = Matrix::encoding(Kernel::Scalar, 2, 1);
    let mut parity = [MaybeUninit::new(0); 8];
    assert!(Pass::new(&matrix, 8, data.chunks_exact(8), [parity.as_mut_slice()]).is_ok());
    assert!(Pass::new(&matrix, 8, data.chunks_exact(4), [parity.as_mut_slice()]).is_err());
    assert!(Pass::new(&matrix, 8, [data.as_slice()], [parity.as_mut_slice()]).is_err());
    assert!(Pass::new(&matrix, 8, data.chunks_exact(8), []).is_err());
    assert!(Pass::new(&matrix, 8, data.chunks_exact(8), [&mut parity[..7]]).is_err());
}

/// Were one kernel's matrix kept for another's, all kernels would be compared with themselves.
#[test]
fn a_matrix_that_is_kept_is_of_the_kernel_that_is_asked_for() {
    for _ in 0..2 {
        for kernel in kernels() {
            assert_eq!(Matrix::encoding(kernel, 7, 3).kernel, kernel);
        }
    }
}

#[test]
fn the_matrices_kept_are_bounded_and_right() {
    for round in 0..3 {
        for k in 1..=2 * MATRICES_MAX {
            let matrix = Matrix::encoding(Kernel::Scalar, k, 2);
            assert_eq!((matrix.columns, matrix.rows, matrix.factors.len()), (k, 2, 2 * k), "round {round}");
            assert_eq!(matrix.factors[0], field::inverse(k as u8));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn any_k_restore_by_every_kernel(
        (k, p) in (1usize..=64).prop_flat_map(|p| (1..=N_MAX - p, Just(p))),
        size in 1usize..200, cut in 0usize..200, seed: u64,
    ) {
        let length = (k * size).saturating_sub(cut % size);
        let data: Vec<u8> = (0..length).map(|at| (at as u64).wrapping_mul(seed | 1).to_be_bytes()[3]).collect();
        let mut order: Vec<usize> = (0..k + p).collect();
        order.sort_by_key(|index| (*index as u64 + 1).wrapping_mul(seed | 1).rotate_left(20));
        for kernel in kernels() {
            let codec = codec(kernel, k, p);
            let encoded = codec.encode(&data).unwrap();
            let kept = order[..k].iter().map(|index| (*index, encoded.fragment(*index).unwrap())).collect();
            let kept = Fragments::new(kept).unwrap();
            prop_assert!(codec.decode(&kept, length as u64).unwrap() == data, "{:?}", kernel);
            let mut missing = order[k..].to_vec();
            missing.sort_unstable();
            for (index, fragment) in missing.iter().zip(codec.rebuild(&kept, &missing, length as u64).unwrap()) {
                prop_assert_eq!(fragment.as_slice(), encoded.fragment(*index).unwrap());
            }
        }
    }
}
