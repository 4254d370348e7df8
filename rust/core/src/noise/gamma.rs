//! Gamma variates of integer shape: the output of an EM register for a number of electrons.
//!
//! Marsaglia & Tsang (ACM Trans. Math. Softw. 26, 363, 2000): with `d = k - 1/3` and a normal variate z, `d v` with
//! `v = x^3, x = 1 + w, w = z / sqrt(9 d)` is a gamma variate of shape k if `ln u < T = z^2/2 + d (1 - v + ln v)` for a uniform u. The
//! series of the logarithm gives `T = -d (3/4 w^4 - 3/5 w^5 + 1/2 w^6 - ...)`, which is at least `-3/4 d w^4 / min(x, 1)`. Almost all draws
//! are accepted by this bound, many pixels at once in single precision. The uncertain ones (5 % at one electron, less than 0.2 % from
//! twenty on) are decided in double precision; rejected ones are drawn again from a separate generator for the pixel.

use std::f64::consts::TAU;

use pulp::Simd;

use super::normal::fill_normals;
use super::random::{BLOCK, Generator, Purpose, Stream};

/// Safety factor of the bound: single precision must not accept what double precision would reject.
const SLACK: f32 = 2e-6;

/// Draws gamma variates for blocks of pixels.
#[derive(Clone, Copy)]
pub(crate) struct Gamma {
    normal: Stream,
    uniform: Stream,
    rejection: Stream,
}

impl Gamma {
    /// The draws of a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            normal: Stream::new(seed, Purpose::GammaNormal),
            uniform: Stream::new(seed, Purpose::GammaUniform),
            rejection: Stream::new(seed, Purpose::GammaRejection),
        }
    }

    /// Replaces each value of the pixels `index..index + BLOCK`, 0 or at least 1, by a gamma variate of that shape and scale 1; 0 stays 0.
    #[inline(always)]
    pub(crate) fn replace<S: Simd>(self, index: u64, shapes: &mut [f32; BLOCK]) {
        let mut normals = [0f32; BLOCK];
        fill_normals::<S>(self.normal, index / BLOCK as u64, &mut normals);
        let mut uniforms = [0f32; BLOCK];
        fill_uniforms(self.uniform, index / BLOCK as u64, &mut uniforms);
        let mut drawn = [0f32; BLOCK];
        let mut doubt = [0u32; BLOCK];
        let mut any = 0;
        for l in 0..BLOCK {
            let d = shapes[l].max(1.0) - 1.0 / 3.0;
            let w = normals[l] / (9.0 * d).sqrt();
            let x = 1.0 + w;
            let v = x * x * x;
            let square = w * w;
            let bound = 0.75 * d * square * square / x.clamp(1e-3, 1.0);
            drawn[l] = d * v;
            let refused = u32::from(uniforms[l] > 1.0 - SLACK - (1.0 + SLACK) * bound) | u32::from(x <= 1e-3);
            doubt[l] = refused & u32::from(shapes[l] > 0.0);
            any |= doubt[l];
        }
        if any != 0 {
            self.decide(index, shapes, &normals, &uniforms, &doubt, &mut drawn);
        }
        for (shape, drawn) in shapes.iter_mut().zip(&drawn) {
            *shape = if *shape > 0.0 { *drawn } else { 0.0 };
        }
    }

    /// Decides in double precision.
    #[cold]
    fn decide(
        self,
        index: u64,
        shapes: &[f32; BLOCK],
        normals: &[f32; BLOCK],
        uniforms: &[f32; BLOCK],
        doubt: &[u32; BLOCK],
        drawn: &mut [f32; BLOCK],
    ) {
        for l in (0..BLOCK).filter(|&l| doubt[l] != 0) {
            let d = f64::from(shapes[l].max(1.0)) - 1.0 / 3.0;
            drawn[l] = match attempt(d, f64::from(normals[l]), f64::from(uniforms[l])) {
                Some(v) => d * v,
                None => by_rejection(d, &mut self.rejection.generator(index + l as u64)),
            } as f32;
        }
    }
}

/// Sets `uniforms` to the numbers in [0, 1) of block `block`: two of each word.
#[inline(always)]
fn fill_uniforms(stream: Stream, block: u64, uniforms: &mut [f32; BLOCK]) {
    let mut words = [0; BLOCK / 2];
    stream.fill(block.wrapping_mul(BLOCK as u64 / 2), &mut words);
    let of_bits = |bits: u64| f32::from_bits(0x3f80_0000 | bits as u32 & 0x7f_ffff) - 1.0;
    let (high, low) = uniforms.split_at_mut(BLOCK / 2);
    for ((word, high), low) in words.iter().zip(high).zip(low) {
        (*high, *low) = (of_bits(word >> 41), of_bits(word >> 8));
    }
}

/// v, if it is accepted.
fn attempt(d: f64, normal: f64, uniform: f64) -> Option<f64> {
    let w = normal / (9.0 * d).sqrt();
    let x = 1.0 + w;
    let v = x * x * x;
    let accepted = x > 0.0 && libm::log(uniform) < 0.5 * normal * normal + d * (1.0 - v) + 3.0 * d * libm::log1p(w);
    accepted.then_some(v)
}

/// A gamma variate of shape d + 1/3.
fn by_rejection(d: f64, generator: &mut Generator) -> f64 {
    loop {
        let radius = (-2.0 * libm::log1p(-generator.uniform())).sqrt();
        let normal = radius * libm::cos(TAU * generator.uniform());
        if let Some(v) = attempt(d, normal, generator.uniform()) {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probabilities of gamma variates of shape k in bins, by Simpson's rule.
    fn probabilities(k: f64, edges: &[f64]) -> Vec<f64> {
        let density =
            |x: f64| if x > 0.0 { ((k - 1.0) * x.ln() - x - libm::lgamma(k)).exp() } else { f64::from(k <= 1.0) };
        let bin = |pair: &[f64]| {
            let step = (pair[1] - pair[0]) / 100.0;
            let inner = (1..100u32).map(|i| density(pair[0] + f64::from(i) * step) * f64::from(2 + 2 * (i % 2)));
            (density(pair[0]) + inner.sum::<f64>() + density(pair[1])) * step / 3.0
        };
        edges.windows(2).map(bin).collect()
    }

    #[test]
    fn numbers_follow_the_law_of_their_shape() {
        const BLOCKS: u64 = 1 << 14;
        for k in [1.0f32, 2.0, 3.0, 5.0, 20.0, 200.0, 1e4] {
            let gamma = Gamma::new(u64::from(k as u32));
            let (mean, spread) = (f64::from(k), f64::from(k).sqrt());
            let (low, high) = ((mean - 5.0 * spread).max(0.0), mean + 7.0 * spread);
            let edges: Vec<f64> = (0..=120u32).map(|i| low + f64::from(i) / 120.0 * (high - low)).collect();
            let mut found = vec![0.0; 120];
            let (mut sum, mut squares) = (0.0, 0.0);
            for block in 0..BLOCKS {
                let mut draws = [k; BLOCK];
                gamma.replace::<pulp::Scalar>(block * BLOCK as u64, &mut draws);
                for draw in draws.map(f64::from) {
                    sum += draw - mean;
                    squares += (draw - mean).powi(2);
                    let bin = ((draw - low) / (high - low) * 120.0) as usize;
                    found[bin.min(119)] += f64::from(draw >= low && draw < high);
                }
            }
            let n = (BLOCKS * BLOCK as u64) as f64;
            assert!((sum / n).abs() < 5.0 * spread / n.sqrt(), "k = {k}: mean off by {}", sum / n);
            let variance = squares / n / mean;
            assert!((variance - 1.0).abs() < 5.0 * ((2.0 + 6.0 / mean) / n).sqrt(), "k = {k}: variance {variance}");
            let (mut chi, mut bins) = (0.0, 0.0);
            for (p, found) in probabilities(mean, &edges).into_iter().zip(found) {
                if p * n > 20.0 {
                    chi += (found - p * n).powi(2) / (p * n);
                    bins += 1.0;
                }
            }
            assert!((chi - bins).abs() < 5.0 * f64::sqrt(2.0 * bins), "k = {k}: chi-square {chi} of {bins} bins");
        }
    }

    #[test]
    fn no_electrons_stay_none() {
        let mut draws = [0.0; BLOCK];
        draws[7] = 1.0;
        Gamma::new(3).replace::<pulp::Scalar>(0, &mut draws);
        assert!(draws.iter().enumerate().all(|(l, &draw)| (l == 7) == (draw > 0.0)));
    }
}
