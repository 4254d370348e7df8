//! The Cramér-Rao bound: the best precision that any unbiased estimator can reach.
//!
//! A pixel has the mean `mu = QE (N h + b) + dark` electrons and the variance `v = F mu + (r / G)^2` (F. Huang et al., Nat. Methods
//! 10, 653, 2013), with `h` the stamp, read noise r, gain G and excess noise F of an EM register. The Fisher information of the
//! parameters x, y, z, N and b is `sum over pixels of (d mu / d a)(d mu / d b) / v`, and the bounds are the square roots of the
//! diagonal of its inverse.

use pulp::Simd;

use super::information::{DEPENDENT_SINGLE, standard_deviations};
use super::{Chosen, Emitters, Psf};
use crate::camera::Maps;
use crate::simd::{dispatch, mul_add};
use crate::{Error, Result, Stop};

/// x, y, z, photons, background.
pub const PARAMETERS: usize = 5;

/// A stamp and its derivatives with respect to x, y and z.
pub(crate) const PLANES: usize = 4;

/// Noise properties of the detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    /// Electrons per photon.
    pub quantum_efficiency: f64,
    /// Mean electrons per pixel without light.
    pub dark_e: f64,
    /// Standard deviation of the read noise divided by the gain of the register, in electrons.
    pub read_noise_e: f64,
    /// Excess noise of the register: 1 without, 2 with a register.
    pub excess_noise: f64,
    /// Per-pixel QE, and read noise, which is divided by the gain. Gain and offset of the counts have no effect.
    pub maps: Maps,
}

/// The response of the pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pixels<'a> {
    /// All pixels are equal: background photons.
    Alike { background: f64 },
    /// Per pixel: QE, and the variance without the emitter's signal.
    Each { efficiency: &'a [f32], variance: &'a [f32] },
}

impl Detector {
    /// # Errors
    /// If a number is out of range.
    pub fn check(&self) -> Result<()> {
        if !(self.quantum_efficiency > 0.0 && self.quantum_efficiency <= 1.0) {
            return Err(Error::value("quantum_efficiency", self.quantum_efficiency, "a number above 0, at most 1"));
        }
        for (name, value) in [("dark_e", self.dark_e), ("read_noise", self.read_noise_e)] {
            if !(0.0..=1e6).contains(&value) {
                return Err(Error::value(name, value, "a number from 0 to 1e6"));
            }
        }
        if !(1.0..=2.0).contains(&self.excess_noise) {
            return Err(Error::value("excess_noise", self.excess_noise, "a number from 1 to 2"));
        }
        self.maps.check()
    }

    /// Checks that maps, if any, match the pixels of a frame, or of all frames.
    pub(crate) fn check_pixels(&self, expected: usize, frames: usize) -> Result<()> {
        match self.maps.pixels() {
            0 => Ok(()),
            got if got == expected || got == expected * frames => Ok(()),
            got => Err(Error::Length { name: "a map of the camera", got, expected }),
        }
    }

    /// QE of a pixel, counted from the first of all frames, and its variance without emitters.
    pub(crate) fn of_pixel(&self, pixel: usize, background: f64) -> [f64; 2] {
        let or = |map: &[f32], number: f64| if map.is_empty() { number } else { f64::from(map[pixel % map.len()]) };
        let efficiency = or(&self.maps.quantum_efficiency, self.quantum_efficiency);
        let read_noise_e = or(&self.maps.read_noise_e, self.read_noise_e);
        [efficiency, self.excess_noise * (efficiency * background + self.dark_e) + read_noise_e * read_noise_e]
    }
}

impl Psf {
    /// Fills `out`, `[emitter][5]`, with the single-emitter bounds on their stamps: sigma of x and y in px, z in um, photons, and
    /// background photons per pixel; infinity if the pixels do not determine a parameter. `photons` and `background` are per emitter.
    ///
    /// # Errors
    /// Those of [`Psf::gradients`]; if lengths do not match, or photons or a number of the detector is out of range.
    pub fn bounds(
        &self,
        emitters: &Emitters<'_>,
        photons: &[f64],
        background: &[f64],
        detector: &Detector,
        out: &mut [f64],
        stop: &Stop,
    ) -> Result<()> {
        let count = emitters.xyz.len();
        self.check_lengths(emitters)?;
        detector.check()?;
        let stamp = self.size() * self.size();
        detector.check_pixels(stamp, 1)?;
        for (name, values) in [("photons", photons), ("background", background)] {
            if values.len() != count {
                return Err(Error::Length { name, got: values.len(), expected: count });
            }
            check_photons(name, values)?;
        }
        if out.len() != PARAMETERS * count {
            return Err(Error::Length { name: "out", got: out.len(), expected: PARAMETERS * count });
        }
        let chosen: Vec<Chosen> = emitters.xyz.iter().copied().enumerate().collect();
        let out = out.chunks_exact_mut(PARAMETERS).collect();
        self.with_gradients(
            emitters,
            &chosen,
            out,
            &|i, planes, out| {
                let background = background[i];
                let (efficiency, variance): (Vec<_>, Vec<_>);
                let pixels = if detector.maps.pixels() == 0 {
                    Pixels::Alike { background }
                } else {
                    let each = (0..stamp).map(|pixel| detector.of_pixel(pixel, background).map(|v| v as f32).into());
                    (efficiency, variance) = each.unzip();
                    Pixels::Each { efficiency: &efficiency, variance: &variance }
                };
                out.copy_from_slice(&bound(planes, photons[i], pixels, detector));
            },
            stop,
        )
    }
}

/// Checks photon numbers.
pub(crate) fn check_photons(name: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().find(|v| !(0.0..=1e15).contains(*v)) {
        None => Ok(()),
        Some(value) => Err(Error::value(name, value, "a number from 0 to 1e15")),
    }
}

/// The single-emitter bound from a stamp, its derivatives, and the response of the pixels.
pub(crate) fn bound(planes: &[f32], photons: f64, pixels: Pixels<'_>, detector: &Detector) -> [f64; PARAMETERS] {
    // If pixels differ, their QE is part of their weight.
    let (qe, variance, each) = match pixels {
        Pixels::Alike { background } => {
            let qe = detector.quantum_efficiency;
            let electrons = qe * background + detector.dark_e;
            let variance = detector.excess_noise * electrons + detector.read_noise_e * detector.read_noise_e;
            (qe, variance, None)
        }
        Pixels::Each { efficiency, variance } => (1.0, 0.0, Some([efficiency, variance])),
    };
    let scale = [photons * qe, detector.excess_noise, variance].map(|v| v as f32);
    let sums = dispatch(Moments { planes, scale, each });
    // from h, dx, dy, dz and 1 to x, y, z, photons, background
    let order = [(1, photons * qe), (2, photons * qe), (3, photons * qe), (0, qe), (4, qe)];
    let mut matrix = [0.0; PARAMETERS * PARAMETERS];
    for (i, &(a, by_a)) in order.iter().enumerate() {
        for (j, &(b, by_b)) in order.iter().enumerate() {
            matrix[i * PARAMETERS + j] = sums[place(a.max(b), a.min(b))] * by_a * by_b;
        }
    }
    for i in 0..3 {
        if sums[place(i + 1, i + 1)] <= NOTHING * sums[place(0, 0)] {
            matrix[i * (PARAMETERS + 1)] = 0.0;
        }
    }
    let found = standard_deviations(&mut matrix, PARAMETERS, DEPENDENT_SINGLE);
    std::array::from_fn(|i| found[i])
}

/// A derivative per px or um counts as zero (rounding errors) if its mean square is below this fraction of the stamp's.
pub(crate) const NOTHING: f64 = 1e-8;

/// Index of the moment of a and b, with b <= a.
const fn place(a: usize, b: usize) -> usize {
    a * (a + 1) / 2 + b
}

/// Pixels processed at a time, the same on every processor.
const LANES: usize = 16;

/// Moments of stamp, derivatives and 1, each weighted by the inverse variance of the pixel.
struct Moments<'a> {
    planes: &'a [f32],
    /// Electrons of the signal, the excess noise, and the variance without signal.
    scale: [f32; 3],
    /// QE and variance without signal of each pixel.
    each: Option<[&'a [f32]; 2]>,
}

impl pulp::WithSimd for Moments<'_> {
    type Output = [f64; 15];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; 15] {
        // this many vectors are summed in f32, and these sums in f64
        const TURN: usize = 16;
        let area = self.planes.len() / PLANES;
        let lines = [0, 1, 2, 3].map(|plane| self.planes[plane * area..][..area].as_chunks::<LANES>());
        let each = self.each.map(|each| each.map(|values| values.as_chunks::<LANES>()));
        let [electrons, excess, rest] = self.scale;
        let whole = lines[0].0.len();
        let mut total = [0.0; 15];
        for first in (0..area.div_ceil(LANES)).step_by(TURN) {
            let mut sums = [[0f32; LANES]; 15];
            for at in first..whole.min(first + TURN) {
                let [h, x, y, z] = lines.map(|(chunks, _)| chunks[at]);
                let weights = match each {
                    None => weights::<S>(&h, excess * electrons, &[rest; LANES]),
                    Some([(efficiency, _), (rest, _)]) => {
                        own_weights(&h, excess * electrons, &efficiency[at], &rest[at])
                    }
                };
                add_moments::<S>([h, x, y, z, [1.0; LANES]], &weights, &mut sums);
            }
            if first + TURN > whole {
                // the last few pixels, padded with zeros to a vector
                let mut values = [[0f32; LANES]; PLANES + 1];
                for (value, (_, rest)) in values.iter_mut().zip(lines) {
                    value[..rest.len()].copy_from_slice(rest);
                }
                values[PLANES][..area - whole * LANES].fill(1.0);
                let weights = match each {
                    None => weights::<S>(&values[0], excess * electrons, &[rest; LANES]),
                    Some(each) => {
                        let [efficiency, rest] = each.map(|(_, last)| {
                            let mut padded = [0f32; LANES];
                            padded[..last.len()].copy_from_slice(last);
                            padded
                        });
                        own_weights(&values[0], excess * electrons, &efficiency, &rest)
                    }
                };
                add_moments::<S>(values, &weights, &mut sums);
            }
            for (total, sum) in total.iter_mut().zip(&sums) {
                *total += sum.iter().map(|&v| f64::from(v)).sum::<f64>();
            }
        }
        total
    }
}

/// The smallest variance of a pixel.
const LEAST: f32 = 1e-12;

/// 1 / variance if all pixels are equal.
#[inline(always)]
fn weights<S: Simd>(stamp: &[f32; LANES], electrons: f32, rest: &[f32; LANES]) -> [f32; LANES] {
    let mut weights = [0f32; LANES];
    for i in 0..LANES {
        let variance = mul_add::<S>(electrons, stamp[i], rest[i]);
        weights[i] = 1.0 / if variance > LEAST { variance } else { LEAST };
    }
    weights
}

/// QE^2 / variance if pixels differ.
#[inline(always)]
fn own_weights(stamp: &[f32; LANES], photons: f32, efficiency: &[f32; LANES], rest: &[f32; LANES]) -> [f32; LANES] {
    let mut weights = [0f32; LANES];
    for i in 0..LANES {
        let variance = photons * efficiency[i] * stamp[i] + rest[i];
        weights[i] = efficiency[i] * efficiency[i] / if variance > LEAST { variance } else { LEAST };
    }
    weights
}

/// Adds the moments of a vector of pixels.
#[inline(always)]
fn add_moments<S: Simd>(values: [[f32; LANES]; PLANES + 1], weights: &[f32; LANES], sums: &mut [[f32; LANES]; 15]) {
    let mut weighted = values;
    for value in &mut weighted {
        for i in 0..LANES {
            value[i] *= weights[i];
        }
    }
    // written out, so that all sums stay in registers
    macro_rules! moments {
        ($($a:literal $b:literal)*) => {
            $(for i in 0..LANES {
                let sum = &mut sums[place($a, $b)][i];
                *sum = mul_add::<S>(weighted[$a][i], values[$b][i], *sum);
            })*
        };
    }
    moments!(0 0  1 0  1 1  2 0  2 1  2 2  3 0  3 1  3 2  3 3  4 0  4 1  4 2  4 3  4 4);
}
