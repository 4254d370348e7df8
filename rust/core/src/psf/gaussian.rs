//! A Gaussian, integrated over pixels exactly.

use rayon::prelude::*;

use super::{Chosen, Emitters, PLANES, PointSpread, Spec, WithPlanes};
use crate::pupil::Gaussian;
use crate::transform::Sampling;
use crate::{Error, Result, Stop};

impl Gaussian {
    /// # Errors
    /// If a length is out of range.
    pub(super) fn check(&self) -> Result<()> {
        for sigma in self.sigma_nm {
            if !(1e-3..=1e9).contains(&sigma) {
                return Err(Error::value("sigma_nm", sigma, "a number from 0.001 to 1e9"));
            }
        }
        if let Some(depth) = self.depth_nm
            && !(1e-3..=1e9).contains(&depth)
        {
            return Err(Error::value("depth_nm", depth, "a number from 0.001 to 1e9"));
        }
        if !(-1e9..=1e9).contains(&self.astigmatism_nm) {
            return Err(Error::value("astigmatism_nm", self.astigmatism_nm, "a number from -1e9 to 1e9"));
        }
        if self.astigmatism_nm != 0.0 && self.depth_nm.is_none() {
            return Err(Error::value("depth_nm", "none", "a number where astigmatism_nm is not 0"));
        }
        Ok(())
    }

    /// Standard deviations along x and y in nm at a height in um, and their derivatives with respect to the height.
    fn widths(&self, z_um: f64) -> [[f64; 2]; 2] {
        [0, 1].map(|axis| {
            let sigma = self.sigma_nm[axis];
            let Some(depth) = self.depth_nm else { return [sigma, 0.0] };
            let focus = if axis == 0 { self.astigmatism_nm } else { -self.astigmatism_nm };
            let t = (1000.0 * z_um - focus) / depth;
            let wider = 1.0f64.hypot(t);
            [sigma * wider, sigma * t / wider * 1000.0 / depth]
        })
    }
}

/// Gaussian PSFs.
#[derive(Debug)]
pub(crate) struct GaussianPsf {
    size: usize,
    shape: Gaussian,
    sampling: Sampling,
    pixel_nm: [f64; 2],
    blur_nm: [f64; 2],
}

/// The fraction of the light in a pixel along one axis, and its derivatives with respect to position and width, in pixels.
type Profile = [f64; 3];

impl GaussianPsf {
    pub fn new(spec: &Spec, shape: Gaussian) -> Self {
        let Spec { optics, size, sampling, blur_nm, .. } = *spec;
        Self { size, shape, sampling, pixel_nm: optics.pixel_nm(), blur_nm }
    }

    /// Along one axis: the fraction of the light in each pixel, for a Gaussian at `at` with standard deviation `sigma`, in pixels.
    fn profile(&self, at: f64, sigma: f64) -> Vec<Profile> {
        let half = (self.size / 2) as f64;
        let density = |u: f64| (-0.5 * u * u).exp() / (2.0 * std::f64::consts::PI).sqrt();
        // value and derivatives of the density at a point, times the pixel size
        let point = |x: f64| {
            let u = (x - at) / sigma;
            let value = density(u) / sigma;
            [value, value * u / sigma, value * (u * u - 1.0) / sigma]
        };
        (0..self.size)
            .map(|i| {
                let x = i as f64 - half;
                match self.sampling {
                    Sampling::Integrated => {
                        let [low, high] = [x - 0.5 - at, x + 0.5 - at].map(|edge| edge / sigma);
                        let root = std::f64::consts::FRAC_1_SQRT_2;
                        // for two numbers of the same sign, the difference of the complements avoids cancellation far from the centre
                        let light = if low > 0.0 {
                            0.5 * (libm::erfc(low * root) - libm::erfc(high * root))
                        } else if high < 0.0 {
                            0.5 * (libm::erfc(-high * root) - libm::erfc(-low * root))
                        } else {
                            0.5 * (libm::erf(high * root) - libm::erf(low * root))
                        };
                        let [at_low, at_high] = [density(low), density(high)];
                        [light, (at_low - at_high) / sigma, (low * at_low - high * at_high) / sigma]
                    }
                    Sampling::Point => point(x),
                    Sampling::Binned(k) => {
                        let k = f64::from(k);
                        let mut sum = [0.0; 3];
                        for part in 0..k as u32 {
                            let value = point(x - 0.5 + (f64::from(part) + 0.5) / k);
                            sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += value / k);
                        }
                        sum
                    }
                }
            })
            .collect()
    }

    /// Profiles along x and y of an emitter, and the derivatives of its widths with respect to z, in pixels per um.
    fn profiles(&self, [x, y, z]: [f64; 3]) -> ([Vec<Profile>; 2], [f64; 2]) {
        let widths = self.shape.widths(z);
        let [sigma_x, sigma_y] = [0, 1].map(|axis| widths[axis][0].hypot(self.blur_nm[axis]));
        let profiles = [self.profile(x, sigma_x / self.pixel_nm[0]), self.profile(y, sigma_y / self.pixel_nm[1])];
        // for the blurred width, sqrt(sigma^2 + blur^2)
        let wider = [(0, sigma_x), (1, sigma_y)]
            .map(|(axis, sigma)| widths[axis][0] / sigma * widths[axis][1] / self.pixel_nm[axis]);
        (profiles, wider)
    }

    /// Fills a stamp and its derivatives with respect to position.
    fn planes(&self, xyz: [f64; 3], out: &mut [f32]) {
        let area = self.size * self.size;
        let ([x, y], wider) = self.profiles(xyz);
        for (j, y) in y.iter().enumerate() {
            for (i, x) in x.iter().enumerate() {
                let by_z = x[2] * wider[0] * y[0] + x[0] * y[2] * wider[1];
                let values = [x[0] * y[0], x[1] * y[0], x[0] * y[1], by_z];
                for (k, value) in values.into_iter().enumerate() {
                    out[k * area + j * self.size + i] = value as f32;
                }
            }
        }
    }

    /// Computes each emitter into its output.
    fn each<'a, T: Send + 'a>(
        chosen: &[Chosen],
        out: impl IndexedParallelIterator<Item = &'a mut [T]>,
        stop: &Stop,
        fill: impl Fn(usize, [f64; 3], &mut [T]) + Sync,
    ) -> Result<()> {
        const TOGETHER: usize = 64;
        chosen.par_iter().zip(out).enumerate().with_min_len(TOGETHER).try_for_each(|(i, (&(_, xyz), out))| {
            stop.check()?;
            fill(i, xyz, out);
            Ok(())
        })
    }
}

impl PointSpread for GaussianPsf {
    fn size(&self) -> usize {
        self.size
    }

    fn check(&self, chosen: &[Chosen]) -> Result<()> {
        match chosen.iter().find(|(_, xyz)| !xyz.iter().all(|c| c.is_finite())) {
            None => Ok(()),
            Some((emitter, _)) => Err(Error::Value {
                name: "an emitter's position or coefficients",
                got: format!("not finite (emitter {emitter})"),
                expected: "finite numbers",
            }),
        }
    }

    fn stamps(&self, _: &Emitters<'_>, chosen: &[Chosen], out: &mut [f32], stop: &Stop) -> Result<()> {
        Self::each(chosen, out.par_chunks_exact_mut(self.size * self.size), stop, |_, xyz, stamp| {
            let ([x, y], _) = self.profiles(xyz);
            for (row, y) in stamp.chunks_exact_mut(self.size).zip(&y) {
                row.iter_mut().zip(&x).for_each(|(pixel, x)| *pixel = (x[0] * y[0]) as f32);
            }
        })
    }

    /// There are no modes.
    fn gradients(&self, _: &Emitters<'_>, chosen: &[Chosen], _: &[usize], out: &mut [f32], stop: &Stop) -> Result<()> {
        let length = PLANES * self.size * self.size;
        Self::each(chosen, out.par_chunks_exact_mut(length), stop, |_, xyz, out| self.planes(xyz, out))
    }

    fn with_gradients(
        &self,
        _: &Emitters<'_>,
        chosen: &[Chosen],
        out: Vec<&mut [f64]>,
        each: WithPlanes<'_>,
        stop: &Stop,
    ) -> Result<()> {
        Self::each(chosen, out.into_par_iter(), stop, |i, xyz, out| {
            let mut planes = vec![0.0; PLANES * self.size * self.size];
            self.planes(xyz, &mut planes);
            each(i, &planes, out);
        })
    }

    fn held_bytes(&self) -> usize {
        0
    }
}
