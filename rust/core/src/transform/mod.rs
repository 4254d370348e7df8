//! The folded matrix transform: from the coefficients of a batch of emitters to their stamps.
//!
//! `psf = |Fourier transform of the pupil|^2`, and on a quadrature whose rows are chords the transform is a matrix
//! product along xi and then one along eta. Splitting the pupil by its evenness in xi and in eta turns it into four
//! real-matrix products over a quarter of the nodes and a quarter of the samples; sums and differences give all four
//! quadrants:
//!
//! ```text
//! sum over (s, t) in {+-1}^2 of P(s xi, t eta) e^{i s a} e^{i t b}
//!     = cos a cos b sum P + i sin a cos b sum s P + i cos a sin b sum t P - sin a sin b sum s t P
//! ```
//!
//! One emitter is one lane of a vector: every operation below works on as many emitters as the CPU has lanes, matrices are
//! broadcast, no lane is ever wasted whatever the stamp's size, and an emitter's stamp has the same bits in any batch.

mod matrix;
mod sampling;

pub(crate) use matrix::columns_in_registers;
pub(crate) use sampling::AxisSampling;
pub use sampling::{MOST_SAMPLES_PER_PIXEL, Sampling};

use pulp::Simd;

use self::matrix::{Matrix, transpose};
use crate::pupil::{Defocus, DiskQuadrature, NODE_BLOCK, NODES_FEWER, Optics, PupilBasis, fill_pupil};

/// Everything that is the same for all emitters with one number of quadrature rows.
#[derive(Debug)]
pub(crate) struct Plan {
    basis: PupilBasis,
    /// Along xi, one for each row: quadrature weight times cos and sin, nodes x samples.
    rows: Vec<[Matrix; 2]>,
    /// Along eta: cos and sin, rows x samples.
    columns: [Matrix; 2],
}

impl Plan {
    pub fn new(
        optics: &Optics,
        modes: usize,
        defocus: Defocus,
        rows: usize,
        [x, y]: [&AxisSampling; 2],
        block: usize,
    ) -> Self {
        let quadrature = DiskQuadrature::quarter(rows, rows - NODES_FEWER);
        let [kx, ky] = optics.rim_half_turns_per_pixel().map(|t| std::f64::consts::PI * t);
        let both = |make: &dyn Fn(fn(f64) -> f64) -> Matrix| [make(f64::cos), make(f64::sin)];
        let along_xi = quadrature
            .rows
            .iter()
            .map(|row| {
                both(&|wave| {
                    Matrix::new(row.nodes.len(), x.half.len(), block, |k, i| {
                        row.nodes[k].weight * wave(kx * row.nodes[k].xi * x.half[i])
                    })
                })
            })
            .collect();
        let columns = both(&|wave| {
            Matrix::new(quadrature.rows.len(), y.half.len(), block, |k, i| {
                wave(ky * quadrature.rows[k].eta * y.half[i])
            })
        });
        Self { basis: PupilBasis::new(optics, modes, defocus, &quadrature), rows: along_xi, columns }
    }

    /// How many values a plan holds whose quadrature has so many rows and nodes on a quarter of the disk.
    pub fn len(modes: usize, rows: usize, nodes: usize, [nx, ny]: [usize; 2]) -> usize {
        2 * (nodes * nx + rows * ny) + PupilBasis::len(modes, nodes)
    }

    /// How many values this plan holds.
    #[cfg(test)]
    pub fn values(&self) -> usize {
        self.rows.iter().flatten().chain(&self.columns).map(Matrix::values).sum::<usize>() + self.basis.values()
    }
}

/// The stamps' geometry and what turns samples into pixels.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub size: usize,
    pub x: AxisSampling,
    pub y: AxisSampling,
    /// Pixel area over (wavelength / NA)^2.
    pub pixel_area: f32,
}

impl Geometry {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.x.bytes() + self.y.bytes()
    }
}

/// Vectors of work space, at most, for a batch whose quadrature has so many rows and nodes on a quarter of the disk, with so many
/// samples on one side along x and y.
pub(crate) fn scratch_len(nodes: usize, rows: usize, size: usize, [nx, ny]: [usize; 2]) -> usize {
    8 * (nodes.next_multiple_of(NODE_BLOCK) + nx * rows)
        + 8 * ny
        + FILTERED * (2 * ny + size)
        + size.next_multiple_of(FILTERED) * 2 * nx
}

/// The most emitters in a batch, on any processor.
pub(crate) const MOST_LANES: usize = 16;

/// Work space of a thread; grows to what the largest plan needs and is kept.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    memory: Vec<f32>,
}

impl Scratch {
    /// `len` floats that start on a cache line, so that no vector straddles two.
    pub fn aligned(&mut self, len: usize) -> &mut [f32] {
        const LINE: usize = 16;
        if self.memory.len() < len + LINE {
            self.memory.resize(len + LINE, 0.0);
        }
        let start = self.memory.as_ptr().align_offset(64).min(LINE);
        &mut self.memory[start..start + len]
    }
}

/// A batch of emitters, one per lane.
pub(crate) struct Batch<'a> {
    pub plan: &'a Plan,
    pub geometry: &'a Geometry,
    /// `[term][lane]`; unused lanes are zero.
    pub phase: &'a [f32],
    /// `[mode][lane]`, where any emitter has magnitude coefficients.
    pub magnitude: Option<&'a [f32]>,
    /// One stamp per used lane, `size * size` each.
    pub stamps: &'a mut [&'a mut [f32]],
    pub scratch: &'a mut Scratch,
}

impl pulp::WithSimd for Batch<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, geometry: g, phase, magnitude, stamps, scratch } = self;
        let (nodes, rows) = (plan.basis.weights.len(), plan.rows.len());
        let (nx, ny) = (g.x.half.len(), g.y.half.len());
        let (grid_x, grid_y) = (g.x.grid_len(), g.y.grid_len());
        let (memory, _) =
            S::as_mut_simd_f32s(scratch.aligned(S::F32_LANES * scratch_len(nodes, rows, g.size, [nx, ny])));
        let (parts, rest) = memory.split_at_mut(8 * nodes);
        let (along, rest) = rest.split_at_mut(8 * nx * rows);
        let (transformed, rest) = rest.split_at_mut(8 * ny);
        let (columns, rest) = rest.split_at_mut(FILTERED * grid_y);
        // whole groups of lines, the last ones beyond the stamp where its size is no multiple
        let (filtered, pixels) = rest.split_at_mut(g.size.next_multiple_of(FILTERED) * grid_x);
        let parts = parts.as_chunks_mut::<8>().0;
        let scale = fill_pupil(simd, &plan.basis, phase, magnitude, parts);
        let scale = simd.mul_f32s(simd.splat_f32s(g.pixel_area), scale);

        // along xi: for each sample and row, the four sums with cos(a), then the four with sin(a)
        let mut start = 0;
        for (r, [cos, sin]) in plan.rows.iter().enumerate() {
            let nodes = &parts[start..start + cos.depth()];
            start += cos.depth();
            let out = &mut along.as_chunks_mut::<4>().0[2 * r..];
            cos.apply::<S, 0, 2>(simd, nodes, out, 2 * rows);
            sin.apply::<S, 4, 6>(simd, nodes, &mut out[1..], 2 * rows);
        }

        // along eta: whole columns of intensity at +x and -x, filtered to pixels along y
        let along = along.as_chunks::<8>().0;
        let (even, odd) = transformed.as_chunks_mut::<4>().0.split_at_mut(ny);
        for first in (0..nx).step_by(2) {
            let pair = first..nx.min(first + 2);
            for (i, columns) in pair.clone().zip(columns.chunks_exact_mut(2 * grid_y)) {
                plan.columns[0].apply::<S, 0, 4>(simd, &along[i * rows..], even, 1);
                plan.columns[1].apply::<S, 2, 6>(simd, &along[i * rows..], odd, 1);
                let (plus, minus) = columns.split_at_mut(grid_y);
                for (j, (a, b)) in even.iter().zip(&*odd).enumerate() {
                    let [pp, pm, mp, mm] = intensities(simd, a, b);
                    let (low, high) = (ny - 1 - j, grid_y - ny + j);
                    (plus[low], plus[high], minus[low], minus[high]) = (pm, pp, mm, mp);
                }
            }
            let second = pair.end - 1;
            let places = [grid_x - nx + first, nx - 1 - first, grid_x - nx + second, nx - 1 - second];
            for (pixel, out) in filtered.chunks_exact_mut(grid_x).take(g.size).enumerate() {
                let sums = weighted_sums(simd, &g.y, pixel, columns, grid_y);
                // of a single column at the end, the second half of `columns` is old: not written
                for (&at, sum) in places[..2 * pair.len()].iter().zip(sums) {
                    out[at] = sum;
                }
            }
        }

        // along x, and from lanes to stamps
        for first in (0..g.size).step_by(FILTERED) {
            let lines = FILTERED.min(g.size - first);
            let samples = &filtered[first * grid_x..];
            for pixel in 0..g.size {
                let sums = weighted_sums(simd, &g.x, pixel, samples, grid_x);
                for (k, sum) in sums.into_iter().enumerate() {
                    // where there is no light, the weights' error can be a negative one
                    let sum = simd.max_f32s(sum, simd.splat_f32s(0.0));
                    pixels[k * g.size + pixel] = simd.mul_f32s(scale, sum);
                }
            }
            transpose::<S>(&pixels[..lines * g.size], stamps, first * g.size);
        }
    }
}

/// Lines of samples that are filtered at a time.
const FILTERED: usize = 4;

/// Samples times the weights of a pixel, in each of the first lines of `samples`.
#[inline(always)]
fn weighted_sums<S: Simd>(
    simd: S,
    axis: &AxisSampling,
    pixel: usize,
    samples: &[S::f32s],
    line: usize,
) -> [S::f32s; FILTERED] {
    let weights = &axis.weights[pixel * axis.taps..][..axis.taps];
    let first = axis.first[pixel];
    let a = &samples[first..][..axis.taps];
    let b = &samples[line + first..][..axis.taps];
    let c = &samples[2 * line + first..][..axis.taps];
    let d = &samples[3 * line + first..][..axis.taps];
    let mut sums = [simd.splat_f32s(0.0); FILTERED];
    for t in 0..axis.taps {
        let weight = simd.splat_f32s(weights[t]);
        sums[0] = simd.mul_add_e_f32s(a[t], weight, sums[0]);
        sums[1] = simd.mul_add_e_f32s(b[t], weight, sums[1]);
        sums[2] = simd.mul_add_e_f32s(c[t], weight, sums[2]);
        sums[3] = simd.mul_add_e_f32s(d[t], weight, sums[3]);
    }
    sums
}

/// Intensities at (+x, +y), (+x, -y), (-x, +y), (-x, -y) from the sums with cos(b) and with sin(b).
#[inline(always)]
fn intensities<S: Simd>(simd: S, a: &[S::f32s; 4], b: &[S::f32s; 4]) -> [S::f32s; 4] {
    // U(s, t) = a01 + i s a23 + i t (b01 + i s b23), each pair a complex number
    let (re, im) = (simd.sub_f32s(a[0], a[3]), simd.add_f32s(a[1], a[2]));
    let (b_re, b_im) = (simd.sub_f32s(b[0], b[3]), simd.add_f32s(b[1], b[2]));
    let (re_m, im_m) = (simd.add_f32s(a[0], a[3]), simd.sub_f32s(a[1], a[2]));
    let (b_re_m, b_im_m) = (simd.add_f32s(b[0], b[3]), simd.sub_f32s(b[1], b[2]));
    [
        power(simd, simd.sub_f32s(re, b_im), simd.add_f32s(im, b_re)),
        power(simd, simd.add_f32s(re, b_im), simd.sub_f32s(im, b_re)),
        power(simd, simd.sub_f32s(re_m, b_im_m), simd.add_f32s(im_m, b_re_m)),
        power(simd, simd.add_f32s(re_m, b_im_m), simd.sub_f32s(im_m, b_re_m)),
    ]
}

/// re^2 + im^2.
#[inline(always)]
fn power<S: Simd>(simd: S, re: S::f32s, im: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(re, re, simd.mul_f32s(im, im))
}
