//! What stamps and frames take, said before anything is made: quadrature rows and memory.

use super::blocks::stamps_at_a_time;
use super::stamps::Psf;
use crate::pupil::{Defocus, DiskQuadrature, EXTRA_TERMS, Model, NODES_FEWER, NodeRule, Optics, ROWS};
use crate::transform::{AxisSampling, MOST_LANES, Plan, Sampling, scratch_len};
use crate::{Error, Result};

/// What a [`Psf`] of the same parameters would take. Made in a microsecond: neither samples nor matrices are.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    optics: Optics,
    size: usize,
    modes: usize,
    model: Model,
    defocus: Defocus,
    sampling: Sampling,
}

impl Cost {
    /// # Errors
    /// Those of [`Psf::new`].
    pub fn new(
        optics: Optics,
        size: usize,
        modes: usize,
        model: Model,
        defocus: Defocus,
        sampling: Sampling,
    ) -> Result<Self> {
        Psf::check(&optics, size, modes, sampling)?;
        Ok(Self { optics, size, modes, model, defocus, sampling })
    }

    /// The quadrature rows that an emitter needs: x and y in px from the stamp's middle pixel, z in um, phase coefficients in
    /// radians from Noll 1 on, of which those that are not given are zero. Samples beyond the stamp's rim, which pixels are
    /// integrated with, are not counted: they can add up to 6 rows. A config's emitters need
    /// [`MOST_ROWS`](crate::MOST_ROWS) at most without their aberrations.
    ///
    /// # Errors
    /// If there are more coefficients than modes, or a number is not finite.
    pub fn rows(&self, [x, y, z]: [f64; 3], phase: &[f32]) -> Result<f32> {
        if phase.len() > self.modes {
            return Err(Error::Length { name: "phase", got: phase.len(), expected: self.modes });
        }
        let coefficients = [phase, &[z as f32, x as f32, y as f32]].concat();
        if !coefficients.iter().all(|c| c.is_finite()) {
            return Err(Error::value("an emitter's position or coefficients", "not finite", "finite numbers"));
        }
        let reach = self.sampling.reach(self.size);
        let rule = match self.model {
            Model::Scalar => NodeRule::new(&self.optics, phase.len(), self.defocus, [reach; 2]),
        };
        Ok(rule.needed::<pulp::Scalar>(&coefficients))
    }

    /// Bytes, at most and on any processor, of the matrices for emitters that need from `fewest` to `most` rows, and of the work
    /// space of so many threads.
    #[must_use]
    pub fn transform_bytes(&self, fewest: f32, most: f32, threads: usize) -> usize {
        let samples = self.optics.cutoff_per_pixel().map(|c| AxisSampling::most_samples(self.sampling, self.size, c));
        let enough = |needed: f32| ROWS.iter().position(|&rows| rows as f32 >= needed).unwrap_or(ROWS.len() - 1);
        let (first, last) = (enough(fewest), enough(most));
        let plans = ROWS[first..=last.max(first)].iter().map(|&rows| plan_bytes(self.modes, rows, samples));
        let space = scratch_len(nodes(ROWS[last]), ROWS[last] / 2, self.size, samples);
        let space = 4 * MOST_LANES * (space + 2 * self.modes + EXTRA_TERMS);
        plans.sum::<usize>().saturating_add(threads.saturating_mul(space))
    }

    /// Bytes that [`Psf::expose`] takes at most beside its result, in `space` and of its own, for so many emitters and pixels:
    /// stamps, and photons where these do not fit into `space`.
    #[must_use]
    pub fn expose_bytes(&self, emitters: usize, pixels: usize) -> usize {
        let area = self.size * self.size;
        match emitters.checked_mul(area) {
            Some(stamps) if stamps <= pixels => 4 * stamps,
            _ => 4usize.saturating_mul(pixels.saturating_add(area * stamps_at_a_time(area).min(emitters))),
        }
    }
}

impl Psf {
    /// Bytes of the matrices and weights that it holds by now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let geometry = &self.geometry;
        let samples = [geometry.x.half.len(), geometry.y.half.len()];
        let made = ROWS.iter().zip(&self.plans).filter(|(_, plan)| plan.get().is_some());
        geometry.bytes() + made.map(|(&rows, _)| plan_bytes(self.modes(), rows, samples)).sum::<usize>()
    }
}

/// Bytes of a plan for so many rows, with so many samples on one side along x and y.
fn plan_bytes(modes: usize, rows: usize, samples: [usize; 2]) -> usize {
    4 * Plan::len(modes, rows / 2, nodes(rows), samples)
}

/// Nodes on a quarter of the pupil.
fn nodes(rows: usize) -> usize {
    DiskQuadrature::quarter_len(rows, rows - NODES_FEWER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Emitters, MOST_ROWS, Stop};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is said of an emitter on the verge of being refused, and of its matrices, against what they are.
        #[test]
        fn what_is_said_holds(
            half in 0usize..40, na in 0.5..1.45f64, pixel in 60.0..3000.0f64, aberration in 0.0..1.0f32, paraxial in any::<bool>(),
            sampling in prop_oneof![Just(Sampling::Integrated), Just(Sampling::Point), (1u32..9).prop_map(Sampling::Binned)],
        ) {
            let optics = Optics::new(660.0, na, 1.518, [pixel, 0.9 * pixel]).unwrap();
            let defocus = if paraxial { Defocus::Paraxial } else { Defocus::Exact };
            let size = 2 * half + 1;
            let Ok(cost) = Cost::new(optics, size, 8, Model::Scalar, defocus, sampling) else {
                prop_assert!(Psf::new(optics, size, 8, Model::Scalar, defocus, sampling).is_err());
                return Ok(());
            };
            let psf = Psf::new(optics, size, 8, Model::Scalar, defocus, sampling).unwrap();
            let empty = psf.held_bytes();
            let phase = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, aberration, -0.3];
            let mut stamp = vec![0.0; size * size];
            let (mut low, mut high) = (0.0, 5000.0);
            for _ in 0..12 {
                let z = 0.5 * (low + high);
                let said = cost.rows([0.3, -0.4, z], &phase).unwrap();
                let emitters = Emitters { xyz: &[[0.3, -0.4, z]], phase: &phase, magnitude: None };
                let computed = said < 100.0 && psf.stamps(&emitters, &mut stamp, &Stop::default()).is_ok();
                let exact = psf.rule.needed::<pulp::Scalar>(&[&phase[..], &[z as f32, 0.3, -0.4]].concat());
                prop_assert!(said <= exact + 1e-3 && exact < said + 6.0, "{said} {exact}");
                prop_assert!(computed || said >= 100.0);
                if said <= 100.0 { low = z } else { high = z }
            }
            let made: usize = psf.plans.iter().filter_map(|plan| plan.get().map(Plan::values)).sum();
            prop_assert_eq!(psf.held_bytes() - empty, 4 * made);
            prop_assert!(cost.transform_bytes(0.0, 106.0, 0) >= 4 * made);
            let far = [[0.0, 0.0, 1e6]];
            let refused = psf.stamps(&Emitters { xyz: &far, phase: &phase, magnitude: None }, &mut stamp, &Stop::default()).is_err();
            prop_assert_eq!(refused, cost.rows(far[0], &phase).unwrap() > MOST_ROWS as f32);
        }
    }

    #[test]
    fn wrong_emitters_are_named() {
        let optics = Optics::new(660.0, 1.4, 1.518, [101.0, 98.0]).unwrap();
        let cost = Cost::new(optics, 21, 8, Model::Scalar, Defocus::Exact, Sampling::Integrated).unwrap();
        assert!(cost.rows([0.0; 3], &[0.0; 9]).is_err());
        assert!(cost.rows([0.0, f64::NAN, 0.0], &[]).is_err());
        assert_eq!(cost.expose_bytes(10, 21 * 21 * 10), 4 * 21 * 21 * 10);
        assert!(cost.expose_bytes(usize::MAX, 1 << 40) > 1 << 42);
    }
}
