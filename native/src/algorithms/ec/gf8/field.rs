//! GF(2⁸) with the polynomial x⁸ + x⁴ + x³ + x² + 1 (0x11D), all as tables that the compiler makes.

/// The field's polynomial.
const POLYNOMIAL: u16 = 0x11D;

/// Powers of the generator 2, twice over, so that a sum of two logarithms needs no reduction.
const EXP: [u8; 512] = {
    let mut exp = [0; 512];
    let (mut at, mut power) = (0, 1u16);
    while at < 512 {
        exp[at] = power as u8;
        power <<= 1;
        if power & 0x100 != 0 {
            power ^= POLYNOMIAL;
        }
        at += 1;
    }
    exp
};

/// The inverse of [`EXP`]; 0 has no logarithm.
static LOG: [u8; 256] = {
    let mut log = [0; 256];
    let mut at = 0;
    while at < 255 {
        log[EXP[at] as usize] = at as u8;
        at += 1;
    }
    log
};

static POWERS: [u8; 512] = EXP;

/// Products with one factor, by the nibbles of the other: `x · c = NIBBLES[c][x & 15] ^ NIBBLES[c][16 + (x >> 4)]`.
pub(super) static NIBBLES: [[u8; 32]; 256] = {
    let mut tables = [[0; 32]; 256];
    let mut c = 0;
    while c < 256 {
        let mut x = 0;
        while x < 16 {
            tables[c][x] = product(c as u8, x as u8);
            tables[c][16 + x] = product(c as u8, (x << 4) as u8);
            x += 1;
        }
        c += 1;
    }
    tables
};

/// Multiplication by each c as the 8 × 8 bit matrix that `gf2p8affineqb` takes: byte 7 − i is the row of output bit i.
pub(super) static AFFINE: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut c = 0;
    while c < 256 {
        let mut input = 0;
        while input < 8 {
            let column = product(c as u8, 1 << input);
            let mut output = 0;
            while output < 8 {
                if column >> output & 1 == 1 {
                    matrices[c] |= 1 << (8 * (7 - output) + input);
                }
                output += 1;
            }
            input += 1;
        }
        c += 1;
    }
    matrices
};

/// The product by shift and reduction, for the tables.
const fn product(a: u8, b: u8) -> u8 {
    let (mut sum, mut term, mut rest) = (0u16, a as u16, b);
    while rest != 0 {
        if rest & 1 == 1 {
            sum ^= term;
        }
        term <<= 1;
        if term & 0x100 != 0 {
            term ^= POLYNOMIAL;
        }
        rest >>= 1;
    }
    sum as u8
}

/// 1 / x; 0 for 0.
pub(super) fn inverse(x: u8) -> u8 {
    if x == 0 { 0 } else { POWERS[255 - usize::from(LOG[usize::from(x)])] }
}

/// The logarithm of `x`, which is not 0, to the base 2.
pub(super) fn log(x: u8) -> u32 {
    u32::from(LOG[usize::from(x)])
}

/// 2 to the power of `exponent`.
pub(super) fn power(exponent: u32) -> u8 {
    POWERS[(exponent % 255) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_by_every_table() {
        for c in 0..=255u8 {
            for x in 0..=255u8 {
                let expected = product(c, x);
                let nibbles = &NIBBLES[usize::from(c)];
                assert_eq!(nibbles[usize::from(x & 15)] ^ nibbles[16 + usize::from(x >> 4)], expected);
                let matrix = AFFINE[usize::from(c)].to_be_bytes();
                let rows = (0..8).map(|i| ((matrix[i] & x).count_ones() as u8 & 1) << i);
                assert_eq!(rows.sum::<u8>(), expected);
                if c != 0 && x != 0 {
                    assert_eq!(power(log(c) + log(x)), expected);
                }
            }
            assert_eq!(product(c, inverse(c)), u8::from(c != 0));
        }
        // A chain of known powers: 2⁸ is the polynomial's rest.
        assert_eq!((power(0), power(7), power(8), power(255)), (1, 0x80, 0x1d, 1));
    }
}
