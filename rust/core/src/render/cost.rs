//! The cost of stamps and frames, estimated in advance: quadrature rows and memory.

use super::blocks::stamps_at_a_time;
use crate::psf::{Spec, field_of, kernels, plan_bytes};
use crate::pupil::{Field, NodeRule, ROWS};
use crate::transform::{AxisSampling, MOST_LANES, scratch_len};
use crate::{Error, Result};

/// The cost of a [`Psf`](crate::Psf) with the same parameters. Created in a microsecond, without samples and matrices.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    spec: Spec,
    /// None if the model has no pupil, and thus no quadrature.
    field: Option<Field>,
}

impl Cost {
    /// # Errors
    /// Those of [`Spec::check`].
    pub fn new(spec: Spec) -> Result<Self> {
        spec.check()?;
        Ok(Self { spec, field: field_of(&spec)? })
    }

    /// The quadrature rows that an emitter needs: x and y in px from the stamp's central pixel, z in um, phase coefficients in
    /// radians from Noll 1 on (missing ones are zero). Samples outside the stamp, which are needed for pixel
    /// integration, are not counted: they can add up to 6 rows. Emitters of a config need at most
    /// [`MOST_ROWS`](crate::MOST_ROWS) without their aberrations.
    ///
    /// # Errors
    /// If there are more coefficients than modes, or a number is not finite.
    pub fn rows(&self, [x, y, z]: [f64; 3], phase: &[f32]) -> Result<f32> {
        if phase.len() > self.spec.modes {
            return Err(Error::Length { name: "phase", got: phase.len(), expected: self.spec.modes });
        }
        if ![x, y, z].iter().all(|c| c.is_finite()) || !phase.iter().all(|c| c.is_finite()) {
            return Err(Error::value("an emitter's position or coefficients", "not finite", "finite numbers"));
        }
        let Some(field) = self.field else { return Ok(0.0) };
        let coefficients: Vec<_> = field.coefficients(&self.spec.optics, phase, [x, y, z]).collect();
        let reach = kernels(&self.spec).map(|kernel| self.spec.sampling.reach(self.spec.size) + 3.0 * kernel.blur);
        let rule = NodeRule::new(&self.spec.optics, phase.len(), field, reach);
        Ok(rule.needed::<pulp::Scalar>(&coefficients))
    }

    /// Maximum bytes, on any processor, of the matrices for emitters that need from `fewest` to `most` rows, and of the scratch
    /// space of this number of threads.
    #[must_use]
    pub fn transform_bytes(&self, fewest: f32, most: f32, threads: usize) -> usize {
        let Some(field) = self.field else { return 0 };
        let Spec { optics, size, modes, .. } = self.spec;
        let (kernels, cutoff) = (kernels(&self.spec), optics.cutoff_per_pixel());
        let samples = [0, 1].map(|axis| AxisSampling::most_samples(kernels[axis], size, cutoff[axis]));
        let enough = |needed: f32| ROWS.iter().position(|&rows| rows as f32 >= needed).unwrap_or(ROWS.len() - 1);
        let (first, last) = (enough(fewest), enough(most));
        let plans = ROWS[first..=last.max(first)].iter().map(|&rows| plan_bytes(&self.spec, field, rows, samples));
        let space = scratch_len(field.components(), field.quadrature_len(&optics, ROWS[last]), size, samples);
        let space = 4 * MOST_LANES * (space + field.terms(modes) + modes);
        plans.sum::<usize>().saturating_add(threads.saturating_mul(space))
    }

    /// Maximum bytes that [`Psf::expose`](crate::Psf::expose) needs in addition to its result, in `space` and elsewhere, for a number
    /// of emitters and pixels: stamps, and photons if these do not fit into `space`.
    #[must_use]
    pub fn expose_bytes(&self, emitters: usize, pixels: usize) -> usize {
        let area = self.spec.size * self.spec.size;
        match emitters.checked_mul(area) {
            Some(stamps) if stamps <= pixels => 4 * stamps,
            _ => 4usize.saturating_mul(pixels.saturating_add(area * stamps_at_a_time(area).min(emitters))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psf::{PointSpread, PupilPsf};
    use crate::simd::level;
    use crate::{Defocus, Emitters, Gaussian, MOST_ROWS, Model, Optics, Sampling, Stop};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Estimates for an emitter at the limit, and for its matrices, against the actual values.
        #[test]
        fn what_is_said_holds(
            half in 0usize..40, na in 0.5..1.45f64, pixel in 60.0..3000.0f64, aberration in 0.0..1.0f32, model in 0usize..4,
            sampling in prop_oneof![Just(Sampling::Integrated), Just(Sampling::Point), (1u32..9).prop_map(Sampling::Binned)],
            blur in prop_oneof![Just(0.0), 0.0..2.0f64],
        ) {
            let optics = Optics::new(660.0, na, 1.518, [pixel, 0.9 * pixel]).unwrap();
            let optics = if model == 3 { optics.with_sample(1.33, 1.52, 0.5).unwrap() } else { optics };
            let defocus = if model == 1 { Defocus::Paraxial } else { Defocus::Exact };
            let size = 2 * half + 1;
            let spec = Spec {
                model: if model < 2 { Model::Scalar } else { Model::Vectorial },
                defocus,
                sampling,
                blur_nm: [blur * pixel, 0.5 * blur * pixel],
                ..Spec::new(optics, size).with_modes(8)
            };
            let Ok(cost) = Cost::new(spec) else {
                prop_assert!(crate::Psf::new(spec).is_err());
                return Ok(());
            };
            let psf = PupilPsf::new(&spec, field_of(&spec).unwrap().unwrap(), level());
            let empty = psf.held_bytes();
            let phase = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, aberration, -0.3];
            let mut stamp = vec![0.0; size * size];
            let mut compute = |xyz: [f64; 3]| {
                let emitters = Emitters { xyz: &[xyz], phase: &phase, magnitude: None };
                psf.stamps(&emitters, &[(0, xyz)], &mut stamp, &Stop::default()).is_ok()
            };
            // the samples for a blur extend over some of its widths: a few rows per pixel
            let slack = (4.0 * blur * 0.54 * std::f64::consts::PI * optics.cutoff_per_pixel()[0]) as f32 + 1e-3;
            let (mut low, mut high) = (0.0, 5000.0);
            for _ in 0..12 {
                let z = 0.5 * (low + high);
                let said = cost.rows([0.3, -0.4, z], &phase).unwrap();
                let computed = said < 100.0 && compute([0.3, -0.4, z]);
                let exact = psf.needed(&phase, [0.3, -0.4, z]);
                prop_assert!(said <= exact + slack && exact < said + slack + 6.0, "{said} {exact}");
                prop_assert!(computed || said >= 100.0);
                if said <= 100.0 { low = z } else { high = z }
            }
            let made = psf.values();
            prop_assert!(psf.held_bytes() - empty >= 4 * made);
            prop_assert!(psf.held_bytes() - empty <= 4 * made + made);
            prop_assert!(cost.transform_bytes(0.0, 106.0, 0) >= 4 * made);
            let far = [0.0, 0.0, 1e6];
            prop_assert_eq!(!compute(far), cost.rows(far, &phase).unwrap() > MOST_ROWS as f32);
        }
    }

    #[test]
    fn wrong_emitters_are_named() {
        let optics = Optics::new(660.0, 1.4, 1.518, [101.0, 98.0]).unwrap();
        let cost = Cost::new(Spec::new(optics, 21).with_modes(8)).unwrap();
        assert!(cost.rows([0.0; 3], &[0.0; 9]).is_err());
        assert!(cost.rows([0.0, f64::NAN, 0.0], &[]).is_err());
        assert_eq!(cost.expose_bytes(10, 21 * 21 * 10), 4 * 21 * 21 * 10);
        assert!(cost.expose_bytes(usize::MAX, 1 << 40) > 1 << 42);
    }

    #[test]
    fn a_gaussian_has_no_quadrature() {
        let optics = Optics::new(660.0, 1.4, 1.518, [101.0, 98.0]).unwrap();
        let shape = Gaussian { sigma_nm: [130.0; 2], depth_nm: None, astigmatism_nm: 0.0 };
        let cost = Cost::new(Spec { model: Model::Gaussian(shape), ..Spec::new(optics, 21) }).unwrap();
        assert!(cost.rows([0.0, 0.0, 1e5], &[]).unwrap() < 1.0);
        assert_eq!(cost.transform_bytes(0.0, 100.0, 4), 0);
    }
}
