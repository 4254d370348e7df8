//! From samples of the intensity to pixels, along one axis.
//!
//! The intensity of an image is band-limited: it has no frequencies above 2 NA / wavelength. So its integral over a pixel
//! is a short weighted sum of samples on any sufficiently fine grid, which need not coincide with the
//! pixels. The weights are a least-squares fit of the pixel's transfer function sinc(f) over that band, with each frequency
//! weighted by the diffraction-limited transfer function.
//!
//! A Gaussian blur is a factor of the transfer function, `exp(-2 (pi sigma f)^2)`, so it only changes the weights.

use std::f64::consts::PI;

use crate::{Error, Result};

/// How the value of a pixel is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// The integral over the pixel.
    #[default]
    Integrated,
    /// The intensity at the pixel's centre times the pixel's area.
    Point,
    /// The mean of k x k point samples spread evenly over the pixel, times its area: high-resolution rendering
    /// and binning.
    Binned(u32),
}

impl Sampling {
    /// The position of the last sample in a stamp, in pixels from its centre.
    pub(crate) fn reach(self, size: usize) -> f64 {
        let half = size as f64 / 2.0;
        match self {
            Self::Point => half - 0.5,
            Self::Binned(k) => half - 0.5 / f64::from(k),
            Self::Integrated => half,
        }
    }

    /// # Errors
    /// If samples per pixel are not from 1 to [`MOST_SAMPLES_PER_PIXEL`].
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Binned(k) if !(1..=MOST_SAMPLES_PER_PIXEL).contains(&k) => {
                Err(Error::value("samples per pixel", k, "1 to 64"))
            }
            _ => Ok(()),
        }
    }
}

/// The filter from intensity to pixels along one axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    pub sampling: Sampling,
    /// Standard deviation of a Gaussian blur, in pixels.
    pub blur: f64,
}

impl Kernel {
    /// The pixel's transfer function at a frequency in cycles per pixel.
    fn transfer(self, f: f64) -> f64 {
        let pixel = match self.sampling {
            Sampling::Integrated => (PI * f).sin() / (PI * f),
            Sampling::Point => 1.0,
            Sampling::Binned(k) => (PI * f).sin() / (f64::from(k) * (PI * f / f64::from(k)).sin()),
        };
        pixel * (-2.0 * (PI * self.blur * f).powi(2)).exp()
    }

    /// Additional samples on a grid that is just fine enough.
    fn more_taps(self, cutoff: f64) -> usize {
        let wide = matches!(self.sampling, Sampling::Binned(_)) && cutoff > LARGEST_CUTOFF;
        let reach = BLUR_REACH * self.blur + if wide { 0.5 } else { 0.0 };
        2 * (2.0 * cutoff * reach).ceil() as usize
    }
}

/// The samples that the pixels of a stamp need along one axis, and their weights.
#[derive(Debug, Clone)]
pub(crate) struct AxisSampling {
    /// Sample positions x >= 0 in pixels from the central pixel; the grid is these and their mirror images.
    pub half: Vec<f64>,
    /// Samples per pixel.
    pub taps: usize,
    /// For each pixel, the first of its samples on the whole grid, counted from the lowest position.
    pub first: Vec<usize>,
    /// For each pixel, its `taps` weights.
    pub weights: Vec<f32>,
}

/// The maximum estimated error of pixel integration, as a fraction of the peak of an image in focus: on a grid that has a
/// sample at each pixel's centre, and on one at any offset. Out of focus the peak is lower and the error a larger
/// fraction of it; with these numbers it stays below 3.5e-4.
const TOLERANCES: [f64; 2] = [1e-4, 5e-5];
const MOST_TAPS: usize = 12;
/// Assumed extent of a blur, in standard deviations.
const BLUR_REACH: f64 = 4.0;
/// The largest cut-off, in cycles per pixel, at which this number of samples can integrate over a pixel.
const LARGEST_CUTOFF: f64 = 1.9;
/// The maximum number of samples per pixel and axis of [`Sampling::Binned`].
pub const MOST_SAMPLES_PER_PIXEL: u32 = 64;

impl AxisSampling {
    /// For `size` pixels (odd), with a cut-off frequency of `cutoff` cycles per pixel.
    pub fn new(kernel: Kernel, size: usize, cutoff: f64) -> Self {
        match kernel.sampling {
            Sampling::Point if kernel.blur == 0.0 => Self::even(size, 1),
            Sampling::Binned(k) if kernel.blur == 0.0 => Self::even(size, k as usize),
            Sampling::Integrated if cutoff > LARGEST_CUTOFF => Self::in_parts(kernel, size, cutoff),
            _ => Self::by_weights(kernel, size, cutoff),
        }
    }

    /// Upper limit of the number of samples on one side of the middle, without computing the grid.
    pub fn most_samples(kernel: Kernel, size: usize, cutoff: f64) -> usize {
        match kernel.sampling {
            Sampling::Point if kernel.blur == 0.0 => size / 2 + 1,
            Sampling::Binned(k) if kernel.blur == 0.0 => (size * k as usize).div_ceil(2),
            _ => (size as f64 * (1.4 * cutoff).max(0.5)) as usize + 16 + 2 * kernel.more_taps(cutoff),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.half) + size_of_val(&*self.first) + size_of_val(&*self.weights)
    }

    /// Samples on the whole grid.
    pub fn grid_len(&self) -> usize {
        2 * self.half.len() - usize::from(self.has_middle())
    }

    /// Whether the grid has a sample at 0, its own mirror image.
    pub fn has_middle(&self) -> bool {
        self.half[0] == 0.0
    }

    /// `k` samples spread evenly over each pixel, equally weighted.
    fn even(size: usize, k: usize) -> Self {
        let count = size * k;
        let half = (0..count.div_ceil(2))
            .map(|i| (i as f64 + if count.is_multiple_of(2) { 0.5 } else { 0.0 }) / k as f64)
            .collect();
        Self { half, taps: k, first: (0..size).map(|j| j * k).collect(), weights: vec![1.0 / k as f32; count] }
    }

    /// For pixels that are large in wavelengths: each is divided into an odd number of equal parts, which are integrated separately.
    fn in_parts(kernel: Kernel, size: usize, cutoff: f64) -> Self {
        let parts = ((cutoff / LARGEST_CUTOFF).ceil() as usize) | 1;
        let kernel = Kernel { blur: kernel.blur * parts as f64, ..kernel };
        let fine = Self::by_weights(kernel, size * parts, cutoff / parts as f64);
        let of_pixel = |j: usize| j * parts..(j + 1) * parts;
        let span = |j: usize| {
            let first = &fine.first[of_pixel(j)];
            let (low, high) = first.iter().fold((usize::MAX, 0), |(low, high), &f| (low.min(f), high.max(f)));
            (low, high + fine.taps - low)
        };
        let taps = (0..size).map(|j| span(j).1).max().unwrap_or(fine.taps);
        let last = fine.grid_len() - taps;
        let first: Vec<usize> = (0..size).map(|j| span(j).0.min(last)).collect();
        let mut weights = vec![0.0; size * taps];
        for (j, weights) in weights.chunks_exact_mut(taps).enumerate() {
            for part in of_pixel(j) {
                let to = &mut weights[fine.first[part] - first[j]..][..fine.taps];
                let from = &fine.weights[part * fine.taps..][..fine.taps];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from / parts as f32);
            }
        }
        Self { half: fine.half.iter().map(|x| x / parts as f64).collect(), taps, first, weights }
    }

    /// The smallest number of samples whose weighted sums meet the tolerances.
    fn by_weights(kernel: Kernel, size: usize, cutoff: f64) -> Self {
        let reach = (size / 2) as f64;
        let band = Band::new(kernel, cutoff);
        let [fewest, most] = [5, MOST_TAPS].map(|taps| taps + kernel.more_taps(cutoff));
        // The coarsest pitch that meets the tolerance, for each number of taps; then the fewest samples.
        let fits = |taps: usize, pitch: f64, parts: &[f64], tolerance: f64| {
            parts.iter().all(|part| {
                let low = (part - 0.5 * (taps - 1) as f64) * pitch;
                band.fit(low, pitch, taps).1 < tolerance
            })
        };
        let coarsest = |taps: usize| {
            // A grid on the pixels' centres may be coarser than one at any offset.
            for parts_of_pixel in 1..=4 {
                let pitch = 1.0 / f64::from(parts_of_pixel);
                if taps % 2 == 1 && pitch * cutoff < 0.5 && fits(taps, pitch, &[0.0], TOLERANCES[0]) {
                    return Some(pitch);
                }
            }
            // no finer than the number of taps can cover a blur
            let least = 2.0 * BLUR_REACH * kernel.blur / taps as f64;
            let (mut fine, mut coarse) = ((0.05 / cutoff).max(least), 0.5 / cutoff);
            for _ in 0..12 {
                let middle = 0.5 * (fine + coarse);
                if fits(taps, middle, &[0.0, 0.25, 0.5], TOLERANCES[1]) { fine = middle } else { coarse = middle }
            }
            // At this pitch, few taps cover only a part of a large pixel. The maximum number always suffices.
            (taps == most || fits(taps, fine, &[0.0, 0.25, 0.5], TOLERANCES[1])).then_some(fine)
        };
        let (_, taps, pitch) = (fewest..=most)
            .filter_map(|taps| {
                let pitch = coarsest(taps)?;
                let samples = (reach / pitch + 0.5 * taps as f64).ceil() as usize;
                Some((samples, taps, pitch))
            })
            .min_by_key(|&(samples, taps, ..)| (samples, taps))
            .expect("there is at least one number of taps");
        // With that pitch, samples at i * pitch or (i + 1/2) * pitch: whichever grid needs fewer.
        let layout = |offset: f64| {
            let mut first = Vec::with_capacity(size);
            let mut last = 0;
            for j in 0..size {
                let x = j as f64 - reach;
                // the first of `taps` samples centred on x, as an index into the unbounded grid
                let low = (x / pitch - offset - 0.5 * (taps - 1) as f64).round() as i64;
                first.push(low);
                // a sample at index i and its mirror image at -i (or -i - 1 where the offset is 1/2)
                let high = low + taps as i64 - 1;
                let mirrored = if offset == 0.0 { -low } else { -low - 1 };
                last = last.max(high).max(mirrored);
            }
            (offset, last as usize + 1, first)
        };
        let (offset, count, first) =
            [layout(0.0), layout(0.5)].into_iter().min_by_key(|l| l.1).expect("there are two layouts");
        let lowest = if offset == 0.0 { 1 - count as i64 } else { -(count as i64) };
        let mut weights = Vec::with_capacity(size * taps);
        for (j, &low) in first.iter().enumerate() {
            let x = j as f64 - reach;
            let low = (low as f64 + offset) * pitch - x;
            weights.extend(band.fit(low, pitch, taps).0.into_iter().map(|w| w as f32));
        }
        Self {
            half: (0..count).map(|i| (i as f64 + offset) * pitch).collect(),
            taps,
            first: first.into_iter().map(|low| (low - lowest) as usize).collect(),
            weights,
        }
    }
}

/// The frequencies of an image.
struct Band {
    /// Cycles per pixel, diffraction-limited transfer, pixel's transfer.
    frequencies: Vec<(f64, f64, f64)>,
}

impl Band {
    fn new(kernel: Kernel, cutoff: f64) -> Self {
        let count = 96;
        let frequencies = (0..count)
            .map(|i| {
                let s = (f64::from(i) + 0.5) / f64::from(count);
                let f = s * cutoff;
                let transfer = 2.0 / PI * (s.acos() - s * (1.0 - s * s).sqrt());
                (f, transfer, kernel.transfer(f))
            })
            .collect();
        Self { frequencies }
    }

    /// Weights of `taps` samples from `low` on, `pitch` apart (pixels from the pixel's centre), that sum to the pixel's
    /// value, and the estimated error.
    fn fit(&self, low: f64, pitch: f64, taps: usize) -> (Vec<f64>, f64) {
        let mut correlation = vec![0.0; taps];
        let mut right = vec![0.0; taps];
        let mut waves = Vec::with_capacity(self.frequencies.len() * taps);
        for &(f, transfer, pixel) in &self.frequencies {
            let power = transfer * transfer;
            // Cosines of equidistant samples: each is the previous one, rotated by the same angle.
            let (mut wave, mut lag, step) = (unit(2.0 * PI * f * low), [1.0, 0.0], unit(2.0 * PI * f * pitch));
            for (right, correlation) in right.iter_mut().zip(&mut correlation) {
                *right += power * pixel * wave[0];
                *correlation += power * lag[0];
                waves.push(wave);
                wave = turned(wave, step);
                lag = turned(lag, step);
            }
        }
        let ridge = 1e-11 * correlation[0];
        let mut gram: Vec<f64> = (0..taps * taps).map(|i| correlation[(i / taps).abs_diff(i % taps)]).collect();
        for a in 0..taps {
            gram[a * taps + a] += ridge;
        }
        solve(&mut gram, &mut right);
        let total: f64 = right.iter().sum();
        for weight in &mut right {
            *weight /= total; // the sum of weights conserves the light
        }
        let (mut error, mut whole) = (0.0, 0.0);
        for (&(_, transfer, pixel), waves) in self.frequencies.iter().zip(waves.chunks_exact(taps)) {
            let (mut re, mut im) = (-pixel, 0.0);
            for (&[c, s], &weight) in waves.iter().zip(&right) {
                re += weight * c;
                im += weight * s;
            }
            error += transfer * re.hypot(im);
            whole += transfer;
        }
        (right, error / whole)
    }
}

/// Cosine and sine of an angle.
fn unit(angle: f64) -> [f64; 2] {
    let (s, c) = angle.sin_cos();
    [c, s]
}

/// The cosine and sine of the sum of two angles, from those of each.
fn turned([c, s]: [f64; 2], [by_c, by_s]: [f64; 2]) -> [f64; 2] {
    [c * by_c - s * by_s, s * by_c + c * by_s]
}

/// Solves a symmetric positive definite system, given by its lower triangle, in place (Cholesky).
fn solve(matrix: &mut [f64], right: &mut [f64]) {
    let n = right.len();
    for j in 0..n {
        for k in 0..j {
            let l = matrix[j * n + k];
            for i in j..n {
                matrix[i * n + j] -= matrix[i * n + k] * l;
            }
        }
        let root = matrix[j * n + j].max(f64::MIN_POSITIVE).sqrt();
        for i in j..n {
            matrix[i * n + j] /= root;
        }
    }
    for i in 0..n {
        for k in 0..i {
            right[i] -= matrix[i * n + k] * right[k];
        }
        right[i] /= matrix[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            right[i] -= matrix[k * n + i] * right[k];
        }
        right[i] /= matrix[i * n + i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A band-limited intensity, blurred and integrated over pixels with the weights and in closed form.
        #[test]
        fn cosines_integrate_as_they_should(
            cutoff in prop_oneof![0.05f64..1.9, 1.9f64..20.0], part in 0.0f64..0.8, phase in 0.0f64..6.3, half in 0usize..20,
            blur in prop_oneof![Just(0.0), 0.1f64..2.0],
        ) {
            let size = 2 * half + 1;
            // a blur of many wavelengths leaves no signal
            let kernel = Kernel { sampling: Sampling::Integrated, blur: blur / cutoff.max(1.0) };
            let axis = AxisSampling::new(kernel, size, cutoff);
            let mut grid: Vec<f64> = axis.half.iter().rev().map(|x| -x).collect();
            grid.extend(&axis.half[usize::from(axis.has_middle())..]);
            prop_assert_eq!(grid.len(), axis.grid_len());
            prop_assert!(axis.half.len() <= AxisSampling::most_samples(kernel, size, cutoff));
            let f = part * cutoff;
            let w = 2.0 * PI * f;
            let sinc = if f == 0.0 { 1.0 } else { (PI * f).sin() / (PI * f) };
            let pixel = sinc * (-2.0 * (PI * kernel.blur * f).powi(2)).exp();
            let transfer = 2.0 / PI * (part.acos() - part * (1.0 - part * part).sqrt());
            for j in 0..size {
                let x = j as f64 - half as f64;
                let sum: f64 = (0..axis.taps)
                    .map(|t| f64::from(axis.weights[j * axis.taps + t]) * (w * grid[axis.first[j] + t] + phase).cos())
                    .sum();
                prop_assert!(((sum - pixel * (w * x + phase).cos()) * transfer).abs() < 4e-4);
            }
        }

        #[test]
        fn binning_samples_lie_evenly_in_their_pixel(k in 1u32..12, half in 0usize..9) {
            let size = 2 * half + 1;
            let axis = AxisSampling::new(Kernel { sampling: Sampling::Binned(k), blur: 0.0 }, size, 0.4);
            let mut grid: Vec<f64> = axis.half.iter().rev().map(|x| -x).collect();
            grid.extend(&axis.half[usize::from(axis.has_middle())..]);
            for j in 0..size {
                for t in 0..k as usize {
                    let expected = j as f64 - half as f64 - 0.5 + (t as f64 + 0.5) / f64::from(k);
                    prop_assert!((grid[axis.first[j] + t] - expected).abs() < 1e-12);
                }
            }
        }
    }
}
