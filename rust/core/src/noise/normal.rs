//! Standard normal variates, one block of pixels at a time.
//!
//! Box & Muller (Ann. Math. Stat. 29, 610, 1958): one 64-bit word gives a radius from 31 bits and an angle
//! from 33, and these two independent normal numbers. The block of pixels `64 b .. 64 b + 64` of the movie
//! uses the words `32 b .. 32 b + 32`; the first half of its pixels gets one variate of each word, the second half the
//! other. Values reach 6.66 sigma; the probability beyond is 3e-11.
use std::f32::consts::FRAC_PI_4;

use pulp::Simd;

use super::random::{BLOCK, Stream};
use crate::simd::mul_add;

/// Words per block.
const HALF: usize = BLOCK / 2;

/// Sets `normals` to the variates of block `block`.
#[inline(always)]
pub(crate) fn fill_normals<S: Simd>(stream: Stream, block: u64, normals: &mut [f32; BLOCK]) {
    let mut words = [0; HALF];
    stream.fill(block.wrapping_mul(HALF as u64), &mut words);
    let (cosines, sines) = normals.split_at_mut(HALF);
    for ((word, cosine), sine) in words.iter().zip(cosines).zip(sines) {
        (*cosine, *sine) = normal_pair::<S>(*word);
    }
}

/// Two independent normal variates from a word.
#[inline(always)]
fn normal_pair<S: Simd>(word: u64) -> (f32, f32) {
    let (high, low) = ((word >> 32) as u32, word as u32);
    // The middle of one of 2^31 steps of (0, 1); near 1 it rounds to 1, near 0 it keeps all its bits.
    let uniform = ((high >> 1) as i32 as f32 + 0.5) * (1.0 / 2_147_483_648.0);
    let radius = (-2.0 * ln::<S>(uniform)).sqrt();

    // An angle within 45 degrees of the x axis, then one random bit for the axis and one for the side.
    let eighths = ((low as i32) >> 1) as f32 * (1.0 / 1_073_741_824.0);
    let square = eighths * eighths;
    let near = cos_eighths::<S>(square) * radius;
    let far = sin_eighths::<S>(square) * eighths * radius;
    let near = f32::from_bits(near.to_bits() | (high << 31));
    if low & 1 == 0 { (near, far) } else { (far, near) }
}

/// The natural logarithm of a normal (not subnormal) number in (0, 1], relative error below 2e-7, and 0 at 1.
#[inline(always)]
fn ln<S: Simd>(x: f32) -> f32 {
    const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
    // (ln(1 + f) - f) / f^2 between sqrt(1/2) and sqrt(2), by Chebyshev interpolation.
    const COEFFICIENTS: [f32; 7] =
        [-0.141_596_47, 0.148_347_87, -0.165_884_88, 0.199_720_5, -0.250_011_48, 0.333_336_7, -0.499_999_97];
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -0.000_212_194_44;
    let bits = x.to_bits() as i32;
    let exponent = (bits - SQRT_HALF_BITS) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let exponent = exponent as f32;
    let mut p = 0.087_872_654;
    for c in COEFFICIENTS {
        p = mul_add::<S>(p, f, c);
    }
    let tail = mul_add::<S>(f * f, p, exponent * LN_2_LOW);
    mul_add::<S>(exponent, LN_2_HIGH, f + tail)
}

/// cos(pi/4 x) for |x| <= 1, given x^2.
#[inline(always)]
fn cos_eighths<S: Simd>(square: f32) -> f32 {
    const COEFFICIENTS: [f32; 4] = [-0.000_325_938_58, 0.015_854_325, -0.308_425_14, 1.0];
    let mut p = 3.529_797e-6;
    for c in COEFFICIENTS {
        p = mul_add::<S>(p, square, c);
    }
    p
}

/// sin(pi/4 x) / x for |x| <= 1, given x^2.
#[inline(always)]
fn sin_eighths<S: Simd>(square: f32) -> f32 {
    const COEFFICIENTS: [f32; 3] = [0.002_490_006_8, -0.080_745_435, FRAC_PI_4];
    let mut p = -3.595_429e-5;
    for c in COEFFICIENTS {
        p = mul_add::<S>(p, square, c);
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::random::Purpose;

    /// The pair from a word by the textbook formula in double precision.
    fn slow_pair(word: u64) -> (f64, f64) {
        let uniform = ((word >> 33) as f64 + 0.5) / f64::from(1u32 << 31);
        let radius = (-2.0 * uniform.ln()).sqrt();
        let angle = f64::from((word as i32) >> 1) / f64::from(1 << 30) * std::f64::consts::FRAC_PI_4;
        let near = radius * angle.cos() * if word >> 32 & 1 == 1 { -1.0 } else { 1.0 };
        let far = radius * angle.sin();
        if word & 1 == 0 { (near, far) } else { (far, near) }
    }

    #[test]
    fn pairs_match_double_precision() {
        let mut words = [0; 2048];
        Stream::new(3, Purpose::ReadNoise).fill(0, &mut words);
        let ends = [0, u64::MAX, 1 << 33, 0x8000_0000, 0x7fff_ffff, 0x7fff_ffff_0000_0000];
        for word in words.into_iter().chain(ends) {
            let (a, b) = normal_pair::<pulp::Scalar>(word);
            let (c, d) = slow_pair(word);
            // A step of `uniform` in single precision changes the radius by up to 6e-8 / radius.
            let slack = 4e-7 * (c.hypot(d) + 1.0 / c.hypot(d));
            assert!((f64::from(a) - c).abs() < slack, "{word:x}: {a} {c}");
            assert!((f64::from(b) - d).abs() < slack, "{word:x}: {b} {d}");
        }
    }

    #[test]
    fn logarithm_is_accurate() {
        assert!(ln::<pulp::Scalar>(1.0) == 0.0);
        for i in 0..100_000u32 {
            let x = f32::from_bits(0x2f00_0000 + i * 2760);
            let (got, expected) = (f64::from(ln::<pulp::Scalar>(x)), f64::from(x).ln());
            assert!((got / expected - 1.0).abs() < 3e-7, "{x}: {got} {expected}");
        }
    }
}
