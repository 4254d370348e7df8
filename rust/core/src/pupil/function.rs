//! The pupil function of a batch of emitters, one per lane, on the nodes of a quarter of the disk.

use pulp::Simd;

use super::terms::{NODE_BLOCK, ParityClass, PupilBasis};

/// Sums of the terms of one parity on a block of nodes.
#[inline(always)]
fn class_sums<S: Simd>(simd: S, class: &ParityClass, block: usize, coefficients: &[S::f32s]) -> [S::f32s; NODE_BLOCK] {
    let mut sums = [simd.splat_f32s(0.0); NODE_BLOCK];
    let length = NODE_BLOCK * class.terms.len();
    let values = class.values[block * length..][..length].as_chunks::<NODE_BLOCK>().0;
    for (&term, values) in class.terms.iter().zip(values) {
        let c = coefficients[term];
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = simd.mul_add_e_f32s(c, simd.splat_f32s(value), *sum);
        }
    }
    sums
}

/// The sums of the four parities.
#[inline(always)]
fn parity_sums<S: Simd>(
    simd: S,
    classes: &[ParityClass; 4],
    block: usize,
    coefficients: &[S::f32s],
) -> [[S::f32s; NODE_BLOCK]; 4] {
    [
        class_sums(simd, &classes[0], block, coefficients),
        class_sums(simd, &classes[1], block, coefficients),
        class_sums(simd, &classes[2], block, coefficients),
        class_sums(simd, &classes[3], block, coefficients),
    ]
}

/// The four mirror images (+xi, +eta), (-xi, +eta), (+xi, -eta), (-xi, -eta) of a sum of the four parities.
#[inline(always)]
fn mirror_images<S: Simd>(simd: S, ee: S::f32s, oe: S::f32s, eo: S::f32s, oo: S::f32s) -> [S::f32s; 4] {
    let (p, q) = (simd.add_f32s(ee, oe), simd.add_f32s(eo, oo));
    let (m, n) = (simd.sub_f32s(ee, oe), simd.sub_f32s(eo, oo));
    [simd.add_f32s(p, q), simd.add_f32s(m, n), simd.sub_f32s(p, q), simd.sub_f32s(m, n)]
}

/// The light transmitted by a pupil.
pub(crate) struct Energy<V> {
    /// 1 / its integral over the pupil.
    pub inverse: V,
    /// The derivative of that integral with respect to z in um, divided by the integral: nonzero only for evanescent light.
    pub slope: V,
}

/// Fills `parts` with the four parity components of the pupil at each node, `[re, im]` each, in the order of [`Parity::bits`]:
/// even in xi and in eta, even in xi and odd in eta, odd in xi and even in eta, odd in both.
///
/// [`Parity::bits`]: super::zernike::Parity::bits
#[inline(always)]
pub(crate) fn fill_pupil<S: Simd>(
    simd: S,
    basis: &PupilBasis,
    phase: &[f32],
    magnitude: Option<&[f32]>,
    parts: &mut [[S::f32s; 8]],
) -> Energy<S::f32s> {
    let zero = simd.splat_f32s(0.0);
    let (phase, _) = S::as_simd_f32s(phase);
    let magnitude = magnitude.map(|m| S::as_simd_f32s(m).0);
    let (mut energy, mut lit, mut slope) = (zero, zero, zero);
    let decays = basis.decays();
    for (block, parts) in parts.as_chunks_mut::<NODE_BLOCK>().0.iter_mut().enumerate() {
        let [ee, oe, eo, oo] = parity_sums(simd, &basis.phase, block, phase);
        let amplitude = match magnitude {
            Some(m) => Some(parity_sums(simd, &basis.magnitude, block, m)),
            None => None,
        };
        for k in 0..NODE_BLOCK {
            let mut waves = [[zero; 2]; 4];
            let images = mirror_images(simd, ee[k], oe[k], eo[k], oo[k]);
            for (wave, turns) in waves.iter_mut().zip(images) {
                *wave = unit_wave(simd, turns);
            }
            if let Some([ee, oe, eo, oo]) = &amplitude {
                let one = simd.splat_f32s(1.0);
                let images = mirror_images(simd, simd.add_f32s(one, ee[k]), oe[k], eo[k], oo[k]);
                let mut squares = zero;
                for (wave, image) in waves.iter_mut().zip(images) {
                    let a = simd.max_f32s(image, zero);
                    squares = simd.mul_add_e_f32s(a, a, squares);
                    *wave = [simd.mul_f32s(wave[0], a), simd.mul_f32s(wave[1], a)];
                }
                let weight = simd.splat_f32s(basis.weights[block * NODE_BLOCK + k]);
                energy = simd.mul_add_e_f32s(squares, weight, energy);
            }
            if decays {
                let node = block * NODE_BLOCK + k;
                let mut squares = zero;
                let rate = simd.splat_f32s(basis.decay[node]);
                let factor = if basis.decay[node] > 0.0 {
                    decayed(simd, simd.mul_f32s(rate, phase[basis.height]))
                } else {
                    simd.splat_f32s(1.0)
                };
                for wave in &mut waves {
                    *wave = [simd.mul_f32s(wave[0], factor), simd.mul_f32s(wave[1], factor)];
                    squares = simd.mul_add_e_f32s(wave[0], wave[0], simd.mul_add_e_f32s(wave[1], wave[1], squares));
                }
                let light = simd.mul_f32s(squares, simd.splat_f32s(basis.weights[node]));
                lit = simd.add_f32s(lit, light);
                slope = simd.mul_add_e_f32s(light, simd.mul_f32s(rate, simd.splat_f32s(-2.0)), slope);
            }
            for p in 0..2 {
                let [pp, mp, pm, mm] = [waves[0][p], waves[1][p], waves[2][p], waves[3][p]];
                let (up, down) = (simd.add_f32s(pp, mp), simd.add_f32s(pm, mm));
                (parts[k][p], parts[k][2 + p]) = (simd.add_f32s(up, down), simd.sub_f32s(up, down));
                let (up, down) = (simd.sub_f32s(pp, mp), simd.sub_f32s(pm, mm));
                (parts[k][4 + p], parts[k][6 + p]) = (simd.add_f32s(up, down), simd.sub_f32s(up, down));
            }
        }
    }
    // a pupil that transmits no light gives a dark stamp, not NaN
    let over = |value, energy| simd.div_f32s(value, simd.max_f32s(energy, simd.splat_f32s(1e-20)));
    if decays {
        Energy { inverse: over(simd.splat_f32s(1.0), lit), slope: over(slope, lit) }
    } else if magnitude.is_some() {
        Energy { inverse: over(simd.splat_f32s(1.0), energy), slope: zero }
    } else {
        Energy { inverse: simd.splat_f32s(basis.flat), slope: zero }
    }
}

/// A component of the field: its amplitude times the pupil. `parts` comes from [`fill_pupil`]; if the field has only one
/// component, it is `parts` itself.
#[inline(always)]
pub(crate) fn component<'a, S: Simd>(
    simd: S,
    basis: &PupilBasis,
    index: usize,
    parts: &'a [[S::f32s; 8]],
    space: &'a mut [[S::f32s; 8]],
) -> &'a [[S::f32s; 8]] {
    let Some(component) = basis.components.get(index) else { return parts };
    for ((parts, out), &amplitude) in parts.iter().zip(space.iter_mut()).zip(&component.amplitude) {
        *out = times(simd, parts, component.parity, amplitude);
    }
    space
}

/// The derivative of the pupil with respect to the coefficient of a term: per radian for a mode, per um for z.
#[inline(always)]
pub(crate) fn derivative<S: Simd>(
    simd: S,
    basis: &PupilBasis,
    term: usize,
    parts: &[[S::f32s; 8]],
    out: &mut [[S::f32s; 8]],
) {
    let (parity, value) = basis.term(term);
    let decays = term == basis.height && basis.decays();
    for (node, (parts, out)) in parts.iter().zip(out).enumerate() {
        let decay = if decays { basis.decay[node] } else { 0.0 };
        *out = times(simd, parts, parity, [-decay, std::f32::consts::PI * value(node)]);
    }
}

/// The parts of a pupil times a complex number with a parity.
#[inline(always)]
fn times<S: Simd>(simd: S, parts: &[S::f32s; 8], parity: usize, [re, im]: [f32; 2]) -> [S::f32s; 8] {
    let mut out = [simd.splat_f32s(0.0); 8];
    let (real, imaginary) = (simd.splat_f32s(re), simd.splat_f32s(im));
    for p in 0..4 {
        let [from_re, from_im] = [parts[2 * (p ^ parity)], parts[2 * (p ^ parity) + 1]];
        let [to_re, to_im] = [simd.mul_f32s(from_re, real), simd.mul_f32s(from_im, real)];
        (out[2 * p], out[2 * p + 1]) = if im == 0.0 {
            (to_re, to_im)
        } else {
            let turned = simd.mul_f32s(from_im, imaginary);
            (simd.sub_f32s(to_re, turned), simd.mul_add_e_f32s(from_re, imaginary, to_im))
        };
    }
    out
}

/// e^-x for x >= 0, relative error 3e-7 down to 1e-30.
#[inline(always)]
fn decayed<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let least = simd.splat_f32s(-100.0);
    let power = simd.max_f32s(simd.mul_f32s(x, simd.splat_f32s(-std::f32::consts::LOG2_E)), least);
    let magic = simd.splat_f32s(12_582_912.0);
    let rounded = simd.add_f32s(power, magic);
    let rest = simd.sub_f32s(power, simd.sub_f32s(rounded, magic));
    // the integer part is in the lowest bits of the sum, and becomes the exponent
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    let part = simd.transmute_u32s_f32s(polynomial(simd, &TWO_TO, rest));
    simd.transmute_f32s_u32s(simd.add_u32s(part, exponent))
}

/// cos and sin of an angle in half-turns, to 1e-7.
#[inline(always)]
fn unit_wave<S: Simd>(simd: S, half_turns: S::f32s) -> [S::f32s; 2] {
    // Adding 1.5 * 2^23 rounds to an integer whose parity is the lowest bit of the sum.
    let magic = simd.splat_f32s(12_582_912.0);
    let rounded = simd.add_f32s(half_turns, magic);
    let r = simd.sub_f32s(half_turns, simd.sub_f32s(rounded, magic));
    let sign = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(31));
    let r2 = simd.mul_f32s(r, r);
    let cos = polynomial(simd, &COS_PI, r2);
    let sin = simd.mul_f32s(r, polynomial(simd, &SIN_PI, r2));
    [flip(simd, cos, sign), flip(simd, sin, sign)]
}

/// The value with its sign flipped if the highest bit of `sign` is set.
#[inline(always)]
fn flip<S: Simd>(simd: S, value: S::f32s, sign: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.xor_u32s(simd.transmute_u32s_f32s(value), sign))
}

/// Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, coefficients: &[f32; N], x: S::f32s) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(coefficients[i]));
    }
    sum
}

/// cos(pi r) and sin(pi r) / r as polynomials of r^2 for |r| <= 1/2 (Chebyshev interpolation; errors 2e-10 and 7e-9).
const COS_PI: [f32; 6] = [1.0, -4.934_802, 4.058_709, -1.335_212, 0.234_937_07, -0.024_395_932];
const SIN_PI: [f32; 5] = [std::f32::consts::PI, -5.167_710_3, 2.550_077_4, -0.598_290_4, 0.077_655_91];
/// 2^r as a polynomial of r for |r| <= 1/2 (Taylor series; error 1e-7).
const TWO_TO: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_356, 0.000_154_035_3];
