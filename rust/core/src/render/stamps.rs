//! Stamps: the PSF of each emitter on a small square of pixels around it.

use std::cell::RefCell;

use once_cell::race::OnceBox;
use rayon::prelude::*;

#[cfg(doc)]
use crate::MOST_SAMPLES_PER_PIXEL;
use crate::pupil::{Defocus, EXTRA_TERMS, Model, NodeRule, Optics, ROWS};
use crate::simd::{Level, dispatch_at, level};
use crate::transform::{AxisSampling, Batch, Geometry, Plan, Sampling, Scratch, columns_in_registers};
use crate::{Error, Result, Stop};

/// The largest stamp, in pixels along a side.
pub const LARGEST_STAMP: usize = 511;
/// The most Zernike modes.
pub const MOST_MODES: usize = 500;
/// The largest phase coefficient, radians: its phase is still exact to 1e-3 in f32.
const LARGEST_PHASE: f32 = 1e4;
/// The largest magnitude coefficient: the pupil's energy is still a number in f32.
const LARGEST_MAGNITUDE: f32 = 1e6;

/// Positions and aberrations of emitters.
#[derive(Debug, Clone, Copy)]
pub struct Emitters<'a> {
    /// x and y in px, z in um.
    pub xyz: &'a [[f64; 3]],
    /// Phase coefficients in radians rms, Noll 1, 2, ...: `modes` for each emitter, or `modes` for all.
    pub phase: &'a [f32],
    /// Magnitude coefficients, in the same layout.
    pub magnitude: Option<&'a [f32]>,
}

impl Emitters<'_> {
    fn row<'b>(&self, values: &'b [f32], modes: usize, emitter: usize) -> &'b [f32] {
        if values.len() == self.xyz.len() * modes { &values[emitter * modes..][..modes] } else { values }
    }
}

/// Computes stamps. Holding the instance is the caching: it keeps the matrices of the transform.
#[derive(Debug)]
pub struct Psf {
    optics: Optics,
    modes: usize,
    defocus: Defocus,
    pub(super) geometry: Geometry,
    pub(super) rule: NodeRule,
    pub(super) plans: Box<[OnceBox<Plan>]>,
    level: Level,
}

impl Psf {
    /// For stamps of `size` x `size` pixels and coefficients of Noll 1 to `modes`.
    ///
    /// # Errors
    /// Those of [`Psf::check`].
    pub fn new(
        optics: Optics,
        size: usize,
        modes: usize,
        model: Model,
        defocus: Defocus,
        sampling: Sampling,
    ) -> Result<Self> {
        Self::at_level(optics, size, modes, model, defocus, sampling, level())
    }

    fn at_level(
        optics: Optics,
        size: usize,
        modes: usize,
        model: Model,
        defocus: Defocus,
        sampling: Sampling,
        level: Level,
    ) -> Result<Self> {
        Self::check(&optics, size, modes, sampling)?;
        let [cutoff_x, cutoff_y] = optics.cutoff_per_pixel();
        let [x, y] = [cutoff_x, cutoff_y].map(|cutoff| AxisSampling::new(sampling, size, cutoff));
        let farthest = [&x, &y].map(|axis| *axis.half.last().expect("a grid has samples"));
        Ok(Self {
            optics,
            modes,
            defocus,
            rule: match model {
                Model::Scalar => NodeRule::new(&optics, modes, defocus, farthest),
            },
            geometry: Geometry { size, x, y, pixel_area: optics.pixel_area() as f32 },
            plans: ROWS.iter().map(|_| OnceBox::new()).collect(),
            level,
        })
    }

    /// Checks what stamps are asked for, before anything is made: what no emitter could be computed on would take any amount of
    /// memory.
    ///
    /// # Errors
    /// If `size` is even or above [`LARGEST_STAMP`], there are more than [`MOST_MODES`] modes, samples per pixel are none or above
    /// [`MOST_SAMPLES_PER_PIXEL`], or the stamp is so large in wavelengths that more than 512 quadrature rows would be needed.
    pub fn check(optics: &Optics, size: usize, modes: usize, sampling: Sampling) -> Result<()> {
        if size.is_multiple_of(2) || size > LARGEST_STAMP {
            return Err(Error::value("size", size, "an odd number of pixels from 1 to 511"));
        }
        if modes > MOST_MODES {
            return Err(Error::value("the number of modes", modes, "at most 500"));
        }
        sampling.check()?;
        let [cutoff_x, cutoff_y] = optics.cutoff_per_pixel();
        let reach = if sampling == Sampling::Point { (size - 1) as f64 } else { size as f64 } / 2.0;
        match NodeRule::too_many(reach, cutoff_x.max(cutoff_y)) {
            None => Ok(()),
            Some(needed) => Err(Error::Value {
                name: "size",
                got: format!("{size} pixels, for which {needed:.0} quadrature rows would be needed"),
                expected: "a stamp that needs at most 512; check the units of pixel size and wavelength (nm)",
            }),
        }
    }

    /// Pixels along a side of a stamp.
    #[must_use]
    pub fn size(&self) -> usize {
        self.geometry.size
    }

    /// Zernike modes per emitter.
    #[must_use]
    pub fn modes(&self) -> usize {
        self.modes
    }

    /// Fills `out` with the stamps `[emitter][y][x]` in photons per emitted photon; x and y of an emitter count from the
    /// stamp's middle pixel. In parallel on rayon's current pool; a stamp has the same bits in any company.
    ///
    /// # Errors
    /// If lengths disagree, a number is not finite, or an emitter is so far out of focus, so aberrated or so far from
    /// the stamp that more than 1024 quadrature rows would be needed; [`Error::Stopped`].
    pub fn stamps(&self, emitters: &Emitters<'_>, out: &mut [f32], stop: &Stop) -> Result<()> {
        let centred: Vec<_> = emitters.xyz.iter().enumerate().map(|(i, &xyz)| (i, xyz)).collect();
        self.check_lengths(emitters)?;
        let expected = centred.len() * self.size() * self.size();
        if out.len() != expected {
            return Err(Error::Length { name: "out", got: out.len(), expected });
        }
        self.stamps_of(emitters, &centred, out, stop)
    }

    /// Checks that the coefficients' lengths fit the emitters'.
    pub(super) fn check_lengths(&self, emitters: &Emitters<'_>) -> Result<()> {
        let expected = emitters.xyz.len() * self.modes;
        for (name, values) in [("phase", Some(emitters.phase)), ("magnitude", emitters.magnitude)] {
            let Some(values) = values else { continue };
            if values.len() != expected && values.len() != self.modes {
                return Err(Error::Length { name, got: values.len(), expected });
            }
        }
        Ok(())
    }

    /// Stamps of chosen emitters: index (for the coefficients) and position from the stamp's middle pixel.
    pub(super) fn stamps_of(
        &self,
        emitters: &Emitters<'_>,
        chosen: &[(usize, [f64; 3])],
        out: &mut [f32],
        stop: &Stop,
    ) -> Result<()> {
        let terms = self.modes + EXTRA_TERMS;
        let area = self.size() * self.size();
        let mut rows = vec![0u8; chosen.len()];
        chosen.par_chunks(CHOICES).zip(rows.par_chunks_mut(CHOICES)).try_for_each(|(chosen, rows)| {
            stop.check()?;
            dispatch_at(self.level, Choose { psf: self, emitters, chosen, rows, coefficients: &mut vec![0.0; terms] })
        })?;

        // Batches of emitters with the same number of rows, in order; each gets its own stamps to write.
        let lanes = dispatch_at(self.level, Lanes);
        let mut groups: Vec<Vec<(usize, &mut [f32])>> = std::iter::repeat_with(Vec::new).take(ROWS.len()).collect();
        for ((i, &rows), stamp) in rows.iter().enumerate().zip(out.chunks_exact_mut(area)) {
            groups[usize::from(rows)].push((i, stamp));
        }
        // Matrices are made first, each by one thread: where several want the same ones later, none waits for another.
        let new: Vec<_> =
            (0..groups.len()).filter(|&r| !groups[r].is_empty() && self.plans[r].get().is_none()).collect();
        new.par_iter().for_each(|&rows| _ = self.plan(rows));
        let mut batches: Vec<_> =
            groups.iter_mut().enumerate().flat_map(|(r, g)| g.chunks_mut(lanes).map(move |b| (r, b))).collect();
        batches.par_iter_mut().try_for_each(|(rows, batch)| {
            stop.check()?;
            self.compute(*rows, emitters, chosen, batch, lanes);
            Ok(())
        })
    }

    /// The matrices for a number of rows, made if they are not there.
    fn plan(&self, rows: usize) -> &Plan {
        self.plans[rows].get_or_init(|| {
            let axes = [&self.geometry.x, &self.geometry.y];
            let columns = columns_in_registers(if self.level == Level::Avx2 { 16 } else { 32 });
            Box::new(Plan::new(&self.optics, self.modes, self.defocus, ROWS[rows], axes, columns))
        })
    }

    /// Computes one batch.
    fn compute(
        &self,
        rows: usize,
        emitters: &Emitters<'_>,
        chosen: &[(usize, [f64; 3])],
        batch: &mut [(usize, &mut [f32])],
        lanes: usize,
    ) {
        thread_local! {
            static SPACE: RefCell<(Scratch, Scratch)> = RefCell::default();
        }
        let plan = self.plan(rows);
        let terms = self.modes + EXTRA_TERMS;
        SPACE.with_borrow_mut(|(scratch, coefficients)| {
            let all = coefficients.aligned((terms + self.modes) * lanes);
            all.fill(0.0);
            let (phase, magnitude) = all.split_at_mut(terms * lanes);
            for (lane, (i, _)) in batch.iter().enumerate() {
                let (emitter, xyz) = chosen[*i];
                let column = phase.iter_mut().skip(lane).step_by(lanes);
                let row = emitters.row(emitters.phase, self.modes, emitter);
                let values = row.iter().copied().chain([xyz[2] as f32, xyz[0] as f32, xyz[1] as f32]);
                column.zip(values).for_each(|(to, from)| *to = from);
                if let Some(values) = emitters.magnitude {
                    let column = magnitude.iter_mut().skip(lane).step_by(lanes);
                    let row = emitters.row(values, self.modes, emitter);
                    column.zip(row).for_each(|(to, &from)| *to = from);
                }
            }
            let mut stamps: Vec<&mut [f32]> = batch.iter_mut().map(|(_, stamp)| &mut **stamp).collect();
            let batch = Batch {
                plan,
                geometry: &self.geometry,
                phase,
                magnitude: emitters.magnitude.map(|_| &*magnitude),
                stamps: &mut stamps,
                scratch,
            };
            dispatch_at(self.level, batch);
        });
    }
}

/// Emitters whose numbers of rows are chosen at a time.
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
    psf: &'a Psf,
    emitters: &'a Emitters<'a>,
    chosen: &'a [(usize, [f64; 3])],
    rows: &'a mut [u8],
    coefficients: &'a mut [f32],
}

impl pulp::WithSimd for Choose<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Result<()> {
        let Self { psf, emitters, chosen, rows, coefficients } = self;
        for (&(emitter, xyz), rows) in chosen.iter().zip(rows) {
            let (modes, rest) = coefficients.split_at_mut(psf.modes);
            modes.copy_from_slice(emitters.row(emitters.phase, psf.modes, emitter));
            rest.copy_from_slice(&[xyz[2] as f32, xyz[0] as f32, xyz[1] as f32]);
            let magnitude = emitters.magnitude.map_or(&[][..], |m| emitters.row(m, psf.modes, emitter));
            let finite = coefficients.iter().chain(magnitude).all(|c| c.is_finite());
            let small = coefficients[..psf.modes].iter().all(|c| c.abs() <= LARGEST_PHASE)
                && magnitude.iter().all(|c| c.abs() <= LARGEST_MAGNITUDE);
            if !(finite && small) {
                return Err(Error::Value {
                    name: "an emitter's position or coefficients",
                    got: format!("{} (emitter {emitter})", if finite { "too large" } else { "not finite" }),
                    expected: "finite numbers, phases up to 1e4 radians, magnitudes up to 1e6",
                });
            }
            *rows = psf.rule.choose::<S>(coefficients).map_err(|needed| Error::Value {
                name: "an emitter's position, defocus and aberrations",
                got: format!("so large that {needed:.0} quadrature rows would be needed (emitter {emitter})"),
                expected: "at most 1024 quadrature rows; check the units of x and y (px), z (um) and the coefficients (radians)",
            })? as u8;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps of a few emitters of every kind, computed at a level.
    fn stamps_at(level: Level, count: usize) -> Vec<f32> {
        let optics = Optics::new(660.0, 1.4, 1.518, [101.0, 98.0]).unwrap();
        let psf = Psf::at_level(optics, 21, 21, Model::Scalar, Defocus::Exact, Sampling::Integrated, level).unwrap();
        let wave = |i: usize| (i as f64 * 0.37).sin();
        let xyz: Vec<_> = (0..count).map(|i| [0.5 * wave(i), 0.5 * wave(3 * i), wave(7 * i)]).collect();
        let phase: Vec<_> = (0..21 * count).map(|i| (0.4 * wave(5 * i + 1)) as f32).collect();
        let magnitude: Vec<_> = phase.iter().map(|c| 0.1 * c).collect();
        let emitters = Emitters { xyz: &xyz, phase: &phase, magnitude: Some(&magnitude) };
        let mut out = vec![0.0; count * 21 * 21];
        psf.stamps(&emitters, &mut out, &Stop::default()).unwrap();
        out
    }

    #[test]
    fn instruction_sets_agree() {
        let fused: Vec<_> =
            [Level::Avx512, Level::Avx2, Level::Neon].into_iter().filter(|l| l.is_available()).collect();
        let scalar = stamps_at(Level::Scalar, 37);
        for &level in &fused {
            let stamps = stamps_at(level, 37);
            // those with fused multiply-add bit for bit
            assert!(stamps == stamps_at(fused[0], 37), "{level:?}");
            let worst = stamps.iter().zip(&scalar).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{level:?} {worst}");
        }
    }

    #[test]
    fn a_stamp_is_the_same_in_any_company() {
        let all = stamps_at(level(), 40);
        for count in [1, 7, 16, 33] {
            assert!(stamps_at(level(), count) == all[..count * 21 * 21], "{count}");
        }
    }
}
