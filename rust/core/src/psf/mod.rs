//! PSFs: from positions and coefficients of emitters to stamps and their derivatives.
//!
//! ```text
//! PointSpread   the interface of a model: stamps of emitters, and their derivatives; all that rendering uses
//! pupil         models with a pupil: scalar, vectorial
//! gaussian      a Gaussian
//! information   an information matrix -> standard deviations
//! bound         derivatives -> Cramér-Rao bounds
//! ```

mod bound;
mod gaussian;
mod information;
mod pupil;

use std::fmt::Debug;

pub use self::bound::{Detector, PARAMETERS};
pub(crate) use self::bound::{NOTHING, PLANES, Pixels, bound, check_photons};
use self::gaussian::GaussianPsf;
pub(crate) use self::information::{DEPENDENT_DOUBLE, standard_deviations};
pub(crate) use self::pupil::{PupilPsf, field_of, kernels, plan_bytes};
use crate::pupil::{Defocus, Model, NodeRule, Optics};
use crate::simd::{Level, level};
use crate::transform::Sampling;
use crate::{Error, Result, Stop};

/// The largest side of a stamp, in pixels.
pub const LARGEST_STAMP: usize = 511;
/// The maximum number of Zernike modes.
pub const MOST_MODES: usize = 500;
/// The largest blur, in pixels.
pub const LARGEST_BLUR: f64 = 5.0;

/// The parameters of stamps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// The microscope.
    pub optics: Optics,
    /// Side of a stamp in pixels, odd.
    pub size: usize,
    /// Coefficients per emitter, Noll 1 and up.
    pub modes: usize,
    /// The physics.
    pub model: Model,
    /// Defocus phase, for [`Model::Scalar`].
    pub defocus: Defocus,
    /// Pixel sampling.
    pub sampling: Sampling,
    /// Standard deviation of a Gaussian blur along x and y, in nm.
    pub blur_nm: [f64; 2],
}

impl Spec {
    /// Stamps of this size, for scalar PSFs without coefficients, integrated over pixels.
    #[must_use]
    pub fn new(optics: Optics, size: usize) -> Self {
        let (model, defocus, sampling) = (Model::default(), Defocus::default(), Sampling::default());
        Self { optics, size, modes: 0, model, defocus, sampling, blur_nm: [0.0; 2] }
    }

    /// The same with coefficients for this number of modes.
    #[must_use]
    pub fn with_modes(self, modes: usize) -> Self {
        Self { modes, ..self }
    }

    /// Checks the parameters in advance: invalid ones could need any amount of memory.
    ///
    /// # Errors
    /// If `size` is even or above [`LARGEST_STAMP`], there are more than [`MOST_MODES`] modes, samples per pixel are 0 or above
    /// [`MOST_SAMPLES_PER_PIXEL`](crate::MOST_SAMPLES_PER_PIXEL), the blur is negative or above [`LARGEST_BLUR`] pixels, the stamp is
    /// too large in wavelengths (more than 512 quadrature rows), or a setting is not supported by the model.
    pub fn check(&self) -> Result<()> {
        let size = self.size;
        if size.is_multiple_of(2) || size > LARGEST_STAMP {
            return Err(Error::value("size", size, "an odd number of pixels from 1 to 511"));
        }
        if self.modes > MOST_MODES {
            return Err(Error::value("the number of modes", self.modes, "at most 500"));
        }
        self.sampling.check()?;
        for (blur, pixel) in self.blur_nm.into_iter().zip(self.optics.pixel_nm()) {
            if !(0.0..=LARGEST_BLUR * pixel).contains(&blur) {
                return Err(Error::value("blur_nm", blur, "a number from 0 to 5 pixels"));
            }
        }
        if let Model::Gaussian(shape) = self.model {
            if self.modes > 0 {
                return Err(Error::value("the number of modes", self.modes, "0: a Gaussian has no pupil"));
            }
            return shape.check();
        }
        field_of(self)?;
        let [cutoff_x, cutoff_y] = self.optics.cutoff_per_pixel();
        let reach = if self.sampling == Sampling::Point { (size - 1) as f64 } else { size as f64 } / 2.0;
        match NodeRule::too_many(reach, cutoff_x.max(cutoff_y)) {
            None => Ok(()),
            Some(needed) => Err(Error::Value {
                name: "size",
                got: format!("{size} pixels, for which {needed:.0} quadrature rows would be needed"),
                expected: "a stamp that needs at most 512; check the units of pixel size and wavelength (nm)",
            }),
        }
    }
}

/// Positions and aberrations of emitters.
#[derive(Debug, Clone, Copy)]
pub struct Emitters<'a> {
    /// x and y in px, z in um.
    pub xyz: &'a [[f64; 3]],
    /// Phase coefficients in radians rms, Noll 1, 2, ...: `modes` values per emitter, or `modes` values for all.
    pub phase: &'a [f32],
    /// Amplitude coefficients, in the same layout.
    pub magnitude: Option<&'a [f32]>,
}

impl Emitters<'_> {
    fn row<'b>(&self, values: &'b [f32], modes: usize, emitter: usize) -> &'b [f32] {
        if values.len() == self.xyz.len() * modes { &values[emitter * modes..][..modes] } else { values }
    }
}

/// An emitter to compute: its index, for the coefficients, and its position relative to the stamp's central pixel.
pub(crate) type Chosen = (usize, [f64; 3]);

/// A PSF model. A stamp is bit-identical, whichever emitters are computed with it.
pub(crate) trait PointSpread: Debug + Send + Sync {
    /// Side of a stamp in pixels.
    fn size(&self) -> usize;

    /// Checks emitters, as far as possible without computing them.
    fn check(&self, chosen: &[Chosen]) -> Result<()>;

    /// Fills `out`, `[emitter][y][x]`, with the stamps of selected emitters, in parallel on rayon's current pool.
    fn stamps(&self, emitters: &Emitters<'_>, chosen: &[Chosen], out: &mut [f32], stop: &Stop) -> Result<()>;

    /// Fills `out`, `[emitter][4 + modes][y][x]`, with stamps and their derivatives with respect to x, y (px), z (um) and modes (counted
    /// from 0, radians).
    fn gradients(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        modes: &[usize],
        out: &mut [f32],
        stop: &Stop,
    ) -> Result<()>;

    /// Passes stamps and their derivatives with respect to position to `each`, on any thread and in any order, without storing them:
    /// the index among the selected emitters, planes `[4][y][x]`, and its part of `out`.
    fn with_gradients(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        out: Vec<&mut [f64]>,
        each: WithPlanes<'_>,
        stop: &Stop,
    ) -> Result<()>;

    /// Bytes of cached data.
    fn held_bytes(&self) -> usize;
}

/// Processes the stamp of an emitter and its derivatives.
pub(crate) type WithPlanes<'a> = &'a (dyn Fn(usize, &[f32], &mut [f64]) + Sync);

/// Computes stamps and renders frames. The instance is the cache: it holds the transform matrices.
#[derive(Debug)]
pub struct Psf {
    spec: Spec,
    model: Box<dyn PointSpread>,
}

impl Psf {
    /// # Errors
    /// Those of [`Spec::check`].
    pub fn new(spec: Spec) -> Result<Self> {
        Self::at_level(spec, level())
    }

    fn at_level(spec: Spec, level: Level) -> Result<Self> {
        spec.check()?;
        let model: Box<dyn PointSpread> = match (spec.model, field_of(&spec)?) {
            (_, Some(field)) => Box::new(PupilPsf::new(&spec, field, level)),
            (Model::Gaussian(shape), _) => Box::new(GaussianPsf::new(&spec, shape)),
            (Model::Scalar | Model::Vectorial, None) => unreachable!("a model with a pupil has a field"),
        };
        Ok(Self { spec, model })
    }

    /// Side of a stamp in pixels.
    #[must_use]
    pub fn size(&self) -> usize {
        self.model.size()
    }

    /// Zernike modes per emitter.
    #[must_use]
    pub fn modes(&self) -> usize {
        self.spec.modes
    }

    /// Bytes of the matrices and weights computed so far.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.model.held_bytes()
    }

    /// Fills `out` with the stamps `[emitter][y][x]`, normalised to one photon; x and y of an emitter are relative to the
    /// stamp's central pixel. In parallel on rayon's current pool; a stamp is bit-identical, whichever emitters are computed with it.
    ///
    /// # Errors
    /// If lengths disagree, a number is not finite, or an emitter is so far out of focus, so aberrated or so far from
    /// the stamp that more than 1024 quadrature rows would be needed; [`Error::Stopped`].
    pub fn stamps(&self, emitters: &Emitters<'_>, out: &mut [f32], stop: &Stop) -> Result<()> {
        let chosen = self.all(emitters, 1, out)?;
        self.stamps_of(emitters, &chosen, out, stop)
    }

    /// Fills `out` with stamps and their derivatives, `[emitter][4 + modes][y][x]`: the stamp as from [`stamps`](Self::stamps),
    /// except for the last bits, d/dx and d/dy per px, d/dz per um, and d/dc per radian of selected modes, counted from 0.
    ///
    /// # Errors
    /// As for stamps, and if a mode does not exist.
    pub fn gradients(&self, emitters: &Emitters<'_>, modes: &[usize], out: &mut [f32], stop: &Stop) -> Result<()> {
        if let Some(mode) = modes.iter().find(|&&mode| mode >= self.modes()) {
            return Err(Error::value("a mode to derive by", format!("Noll {}", mode + 1), "one of the coefficients"));
        }
        let chosen = self.all(emitters, 4 + modes.len(), out)?;
        self.gradients_of(emitters, &chosen, modes, out, stop)
    }

    /// Passes stamps of selected emitters and their derivatives to `each`; see [`PointSpread::with_gradients`].
    pub(crate) fn with_gradients(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        out: Vec<&mut [f64]>,
        each: WithPlanes<'_>,
        stop: &Stop,
    ) -> Result<()> {
        self.model.check(chosen)?;
        self.model.with_gradients(emitters, chosen, out, each, stop)
    }

    /// All emitters, after checking their lengths and that of `out`.
    fn all(&self, emitters: &Emitters<'_>, stamps: usize, out: &[f32]) -> Result<Vec<Chosen>> {
        self.check_lengths(emitters)?;
        let expected = emitters.xyz.len() * stamps * self.size() * self.size();
        if out.len() != expected {
            return Err(Error::Length { name: "out", got: out.len(), expected });
        }
        Ok(emitters.xyz.iter().enumerate().map(|(i, &xyz)| (i, xyz)).collect())
    }

    /// Checks that the lengths of the coefficients match the emitters.
    pub(crate) fn check_lengths(&self, emitters: &Emitters<'_>) -> Result<()> {
        let expected = emitters.xyz.len() * self.modes();
        for (name, values) in [("phase", Some(emitters.phase)), ("magnitude", emitters.magnitude)] {
            let Some(values) = values else { continue };
            if values.len() != expected && values.len() != self.modes() {
                return Err(Error::Length { name, got: values.len(), expected });
            }
        }
        Ok(())
    }

    /// Stamps of selected emitters.
    pub(crate) fn stamps_of(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        out: &mut [f32],
        stop: &Stop,
    ) -> Result<()> {
        self.model.check(chosen)?;
        self.model.stamps(emitters, chosen, out, stop)
    }

    /// Stamps of selected emitters and their derivatives.
    pub(crate) fn gradients_of(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        modes: &[usize],
        out: &mut [f32],
        stop: &Stop,
    ) -> Result<()> {
        self.model.check(chosen)?;
        self.model.gradients(emitters, chosen, modes, out, stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gaussian;

    const SIZE: usize = 21;

    /// One model of each kind: scalar, vectorial, with evanescent light, Gaussian.
    fn specs() -> [Spec; 4] {
        let optics = Optics::new(660.0, 1.4, 1.518, [101.0, 98.0]).unwrap();
        let water = Optics::new(660.0, 1.45, 1.518, [101.0, 98.0]).unwrap().with_sample(1.33, 1.52, 0.4).unwrap();
        let plain = Spec::new(optics, SIZE).with_modes(21);
        let shape = Gaussian { sigma_nm: [120.0, 140.0], depth_nm: Some(400.0), astigmatism_nm: 200.0 };
        [
            plain,
            Spec { model: Model::Vectorial, blur_nm: [60.0, 80.0], ..plain },
            Spec { model: Model::Vectorial, optics: water, ..plain },
            Spec { model: Model::Gaussian(shape), modes: 0, ..plain },
        ]
    }

    /// Stamps of a few emitters of every kind and their derivatives, computed at a SIMD level.
    fn planes_at(spec: &Spec, level: Level, count: usize) -> [Vec<f32>; 2] {
        let psf = Psf::at_level(*spec, level).unwrap();
        let wave = |i: usize| (i as f64 * 0.37).sin();
        let xyz: Vec<_> = (0..count).map(|i| [0.5 * wave(i), 0.5 * wave(3 * i), wave(7 * i).abs()]).collect();
        let phase: Vec<_> = (0..spec.modes * count).map(|i| (0.4 * wave(5 * i + 1)) as f32).collect();
        let magnitude: Vec<_> = phase.iter().map(|c| 0.1 * c).collect();
        let emitters = Emitters { xyz: &xyz, phase: &phase, magnitude: Some(&magnitude) };
        let modes = if spec.modes > 0 { &[4, 7, 10][..] } else { &[] };
        let mut stamps = vec![0.0; count * SIZE * SIZE];
        let mut gradients = vec![0.0; (4 + modes.len()) * stamps.len()];
        psf.stamps(&emitters, &mut stamps, &Stop::default()).unwrap();
        psf.gradients(&emitters, modes, &mut gradients, &Stop::default()).unwrap();
        [stamps, gradients]
    }

    #[test]
    fn instruction_sets_agree() {
        let fused: Vec<_> =
            [Level::Avx512, Level::Avx2, Level::Neon].into_iter().filter(|l| l.is_available()).collect();
        for spec in &specs() {
            let scalar = planes_at(spec, Level::Scalar, 37);
            for &level in &fused {
                let planes = planes_at(spec, level, 37);
                // levels with fused multiply-add are bit-identical
                assert!(planes == planes_at(spec, fused[0], 37), "{spec:?} {level:?}");
                let worst = |i: usize| planes[i].iter().zip(&scalar[i]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst(0) < 1e-6 && worst(1) < 1e-5, "{spec:?} {level:?} {} {}", worst(0), worst(1));
            }
        }
    }

    #[test]
    fn a_stamp_is_the_same_in_any_company() {
        for spec in &specs() {
            let all = planes_at(spec, level(), 40);
            for count in [1, 7, 16, 33] {
                let some = planes_at(spec, level(), count);
                assert!(some.iter().zip(&all).all(|(some, all)| some[..] == all[..some.len()]), "{spec:?} {count}");
            }
        }
    }
}
