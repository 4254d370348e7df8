//! PSFs with a pupil: the phase has Zernike modes, defocus and the emitter's position; the field is scalar or vectorial.

use std::cell::RefCell;

use once_cell::race::OnceBox;
use rayon::prelude::*;

use super::{Chosen, Emitters, PLANES, PointSpread, Spec, WithPlanes};
use crate::pupil::{Defocus, Field, Model, NodeRule, Optics, ROWS};
use crate::simd::{Level, dispatch_at};
use crate::transform::{AxisSampling, Batch, Geometry, GradientBatch, Kernel, Plan, Scratch, columns_in_registers};
use crate::{Error, Result, Stop};

/// The largest phase coefficient in radians: the phase is still accurate to 1e-3 in f32.
const LARGEST_PHASE: f32 = 1e4;
/// The largest amplitude coefficient: the pupil's energy is still finite in f32.
const LARGEST_MAGNITUDE: f32 = 1e6;

/// The field of a model; none if it has no pupil.
///
/// # Errors
/// If a setting is not supported by the model.
pub(crate) fn field_of(spec: &Spec) -> Result<Option<Field>> {
    match (spec.model, spec.defocus) {
        (Model::Scalar, defocus) => Ok(Some(Field::Scalar(defocus))),
        (Model::Vectorial, Defocus::Exact) => Ok(Some(Field::Vectorial)),
        (Model::Vectorial, Defocus::Paraxial) => {
            Err(Error::value("defocus", "paraxial", "exact where the model is vectorial"))
        }
        (Model::Gaussian(_), _) => Ok(None),
    }
}

/// Filters from the intensity to pixels along x and y.
pub(crate) fn kernels(spec: &Spec) -> [Kernel; 2] {
    let pixel = spec.optics.pixel_nm();
    [0, 1].map(|axis| Kernel { sampling: spec.sampling, blur: spec.blur_nm[axis] / pixel[axis] })
}

/// A pupil model.
#[derive(Debug)]
pub(crate) struct PupilPsf {
    spec: Spec,
    field: Field,
    level: Level,
    geometry: Geometry,
    rule: NodeRule,
    plans: Box<[OnceBox<Plan>]>,
}

/// Maximum bytes of a plan with this number of rows, and this number of samples on one side along x and y.
pub(crate) fn plan_bytes(spec: &Spec, field: Field, rows: usize, samples: [usize; 2]) -> usize {
    4 * Plan::len(spec.modes, field, field.quadrature_len(&spec.optics, rows), samples)
}

impl PupilPsf {
    pub fn new(spec: &Spec, field: Field, level: Level) -> Self {
        let optics = &spec.optics;
        let (kernels, cutoff) = (kernels(spec), optics.cutoff_per_pixel());
        let [x, y] = [0, 1].map(|axis| AxisSampling::new(kernels[axis], spec.size, cutoff[axis]));
        let farthest = [&x, &y].map(|axis| *axis.half.last().expect("a grid has samples"));
        Self {
            spec: *spec,
            field,
            level,
            rule: NodeRule::new(optics, spec.modes, field, farthest),
            geometry: Geometry { size: spec.size, x, y, pixel_area: optics.pixel_area() as f32 },
            plans: ROWS.iter().map(|_| OnceBox::new()).collect(),
        }
    }

    /// Computes emitters batch by batch, with `more` quadrature rows than stamps need; each has its own output.
    fn in_batches<'a, T: Send + 'a>(
        &self,
        more: f32,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        outputs: impl Iterator<Item = &'a mut [T]>,
        stop: &Stop,
        compute: impl Fn(&Plan, &Coefficients<'_>, &mut [Output<'a, T>], [&mut Scratch; 2]) + Sync,
    ) -> Result<()> {
        let terms = self.field.terms(self.spec.modes);
        let mut rows = vec![0u8; chosen.len()];
        chosen.par_chunks(CHOICES).zip(rows.par_chunks_mut(CHOICES)).try_for_each(|(chosen, rows)| {
            stop.check()?;
            let coefficients = &mut vec![0.0; terms];
            dispatch_at(self.level, Choose { psf: self, more, emitters, chosen, rows, coefficients })
        })?;

        // Batches of emitters with the same number of rows, in order; each writes to its own output.
        let lanes = dispatch_at(self.level, Lanes);
        let mut groups: Vec<Vec<Output<'a, T>>> = std::iter::repeat_with(Vec::new).take(ROWS.len()).collect();
        for ((place, &rows), out) in rows.iter().enumerate().zip(outputs) {
            groups[usize::from(rows)].push(Output { place, out });
        }
        // First compute the matrices, each on one thread, so that no thread waits for another later.
        let new: Vec<_> =
            (0..groups.len()).filter(|&r| !groups[r].is_empty() && self.plans[r].get().is_none()).collect();
        new.par_iter().for_each(|&rows| _ = self.plan(rows));
        let mut batches: Vec<_> =
            groups.iter_mut().enumerate().flat_map(|(r, g)| g.chunks_mut(lanes).map(move |b| (r, b))).collect();
        batches.par_iter_mut().try_for_each(|(rows, batch)| {
            stop.check()?;
            let batch = &mut **batch;
            SPACE.with_borrow_mut(|[scratch, coefficients, planes]| {
                let places = batch.iter().map(|output| output.place);
                let coefficients = self.coefficients(emitters, chosen, places, lanes, coefficients);
                compute(self.plan(*rows), &coefficients, batch, [scratch, planes]);
            });
            Ok(())
        })
    }

    /// The matrices for a number of rows, computed if necessary.
    fn plan(&self, rows: usize) -> &Plan {
        self.plans[rows].get_or_init(|| {
            let axes = [&self.geometry.x, &self.geometry.y];
            let columns = columns_in_registers(if self.level == Level::Avx2 { 16 } else { 32 });
            Box::new(Plan::new(&self.spec.optics, self.spec.modes, self.field, ROWS[rows], axes, columns))
        })
    }

    /// Gathers the coefficients of a batch, one emitter per lane.
    fn coefficients<'a>(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        places: impl Iterator<Item = usize>,
        lanes: usize,
        space: &'a mut Scratch,
    ) -> Coefficients<'a> {
        let modes = self.spec.modes;
        let terms = self.field.terms(modes);
        let all = space.aligned((terms + modes) * lanes);
        all.fill(0.0);
        let (phase, magnitude) = all.split_at_mut(terms * lanes);
        for (lane, place) in places.enumerate() {
            let (emitter, xyz) = chosen[place];
            let column = phase.iter_mut().skip(lane).step_by(lanes);
            let row = emitters.row(emitters.phase, modes, emitter);
            let values = self.field.coefficients(&self.spec.optics, row, xyz);
            column.zip(values).for_each(|(to, from)| *to = from);
            if let Some(values) = emitters.magnitude {
                let column = magnitude.iter_mut().skip(lane).step_by(lanes);
                let row = emitters.row(values, modes, emitter);
                column.zip(row).for_each(|(to, &from)| *to = from);
            }
        }
        Coefficients { phase, magnitude: emitters.magnitude.map(|_| &*magnitude) }
    }

    /// Additional rows for derivatives: with height, evanescent light changes faster than its value.
    fn more_rows(&self) -> f32 {
        if self.field.critical_radius(&self.spec.optics).is_some() { 8.0 } else { 0.0 }
    }
}

thread_local! {
    /// Scratch space of a thread: for the transform, coefficients, and temporary planes.
    static SPACE: RefCell<[Scratch; 3]> = RefCell::default();
}

/// Output of a selected emitter.
struct Output<'a, T> {
    /// Its index among the selected emitters.
    place: usize,
    out: &'a mut [T],
}

/// The coefficients of a batch, `[term][lane]` and `[mode][lane]`.
struct Coefficients<'a> {
    phase: &'a [f32],
    magnitude: Option<&'a [f32]>,
}

impl PointSpread for PupilPsf {
    fn size(&self) -> usize {
        self.spec.size
    }

    fn check(&self, chosen: &[Chosen]) -> Result<()> {
        if self.field != Field::Vectorial || !self.spec.optics.has_mismatch() {
            return Ok(());
        }
        match chosen.iter().find(|(_, [.., z])| *z < 0.0) {
            None => Ok(()),
            Some((emitter, [.., z])) => Err(Error::Value {
                name: "z",
                got: format!("{z} um (emitter {emitter})"),
                expected: "at least 0: where n_sample is not n_immersion, z is the height above the coverslip",
            }),
        }
    }

    fn stamps(&self, emitters: &Emitters<'_>, chosen: &[Chosen], out: &mut [f32], stop: &Stop) -> Result<()> {
        let geometry = &self.geometry;
        let outputs = out.chunks_exact_mut(self.spec.size * self.spec.size);
        self.in_batches(0.0, emitters, chosen, outputs, stop, |plan, coefficients, batch, [scratch, _]| {
            let Coefficients { phase, magnitude } = *coefficients;
            let stamps = &mut batch.iter_mut().map(|output| &mut *output.out).collect::<Vec<_>>()[..];
            dispatch_at(self.level, Batch { plan, geometry, phase, magnitude, stamps, scratch });
        })
    }

    fn gradients(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        modes: &[usize],
        out: &mut [f32],
        stop: &Stop,
    ) -> Result<()> {
        let geometry = &self.geometry;
        let outputs = out.chunks_exact_mut((4 + modes.len()) * self.spec.size * self.spec.size);
        self.in_batches(self.more_rows(), emitters, chosen, outputs, stop, |plan, coefficients, batch, [scratch, _]| {
            let Coefficients { phase, magnitude } = *coefficients;
            let out = &mut batch.iter_mut().map(|output| &mut *output.out).collect::<Vec<_>>()[..];
            dispatch_at(self.level, GradientBatch { plan, geometry, phase, magnitude, modes, out, scratch });
        })
    }

    fn with_gradients(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[Chosen],
        out: Vec<&mut [f64]>,
        each: WithPlanes<'_>,
        stop: &Stop,
    ) -> Result<()> {
        let geometry = &self.geometry;
        let length = PLANES * self.spec.size * self.spec.size;
        let more = self.more_rows();
        self.in_batches(
            more,
            emitters,
            chosen,
            out.into_iter(),
            stop,
            |plan, coefficients, batch, [scratch, planes]| {
                let Coefficients { phase, magnitude } = *coefficients;
                let planes = planes.aligned(batch.len() * length);
                let out = &mut planes.chunks_exact_mut(length).collect::<Vec<_>>()[..];
                dispatch_at(self.level, GradientBatch { plan, geometry, phase, magnitude, modes: &[], out, scratch });
                for (output, planes) in batch.iter_mut().zip(out) {
                    each(output.place, planes, output.out);
                }
            },
        )
    }

    fn held_bytes(&self) -> usize {
        let samples = [self.geometry.x.half.len(), self.geometry.y.half.len()];
        let made = ROWS.iter().zip(&self.plans).filter(|(_, plan)| plan.get().is_some());
        let plans = made.map(|(&rows, _)| plan_bytes(&self.spec, self.field, rows, samples));
        self.geometry.bytes() + plans.sum::<usize>()
    }
}

/// Emitters for which numbers of rows are chosen at a time.
const CHOICES: usize = 256;

/// The number of emitters in a batch.
struct Lanes;

impl pulp::WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Chooses the number of quadrature rows of each emitter.
struct Choose<'a> {
    psf: &'a PupilPsf,
    more: f32,
    emitters: &'a Emitters<'a>,
    chosen: &'a [Chosen],
    rows: &'a mut [u8],
    coefficients: &'a mut [f32],
}

impl pulp::WithSimd for Choose<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Result<()> {
        let Self { psf, more, emitters, chosen, rows, coefficients } = self;
        let (modes, optics): (_, &Optics) = (psf.spec.modes, &psf.spec.optics);
        for (&(emitter, xyz), rows) in chosen.iter().zip(rows) {
            let phase = emitters.row(emitters.phase, modes, emitter);
            coefficients.iter_mut().zip(psf.field.coefficients(optics, phase, xyz)).for_each(|(to, from)| *to = from);
            let magnitude = emitters.magnitude.map_or(&[][..], |m| emitters.row(m, modes, emitter));
            let finite = coefficients.iter().chain(magnitude).all(|c| c.is_finite());
            let small = coefficients[..modes].iter().all(|c| c.abs() <= LARGEST_PHASE)
                && magnitude.iter().all(|c| c.abs() <= LARGEST_MAGNITUDE);
            if !(finite && small) {
                return Err(Error::Value {
                    name: "an emitter's position or coefficients",
                    got: format!("{} (emitter {emitter})", if finite { "too large" } else { "not finite" }),
                    expected: "finite numbers, phases up to 1e4 radians, magnitudes up to 1e6",
                });
            }
            *rows = psf.rule.choose::<S>(coefficients, more).map_err(|needed| Error::Value {
                name: "an emitter's position, defocus and aberrations",
                got: format!("so large that {needed:.0} quadrature rows would be needed (emitter {emitter})"),
                expected: "at most 1024 quadrature rows; check the units of x and y (px), z (um) and the coefficients (radians)",
            })? as u8;
        }
        Ok(())
    }
}

#[cfg(test)]
impl PupilPsf {
    /// The rows that the rule chooses for these coefficients.
    pub fn needed(&self, phase: &[f32], xyz: [f64; 3]) -> f32 {
        let coefficients: Vec<_> = self.field.coefficients(&self.spec.optics, phase, xyz).collect();
        self.rule.needed::<pulp::Scalar>(&coefficients)
    }

    /// Values of the matrices computed so far.
    pub fn values(&self) -> usize {
        self.plans.iter().filter_map(|plan| plan.get().map(Plan::values)).sum()
    }
}
