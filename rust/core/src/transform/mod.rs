//! The folded matrix transform: from the coefficients of a batch of emitters to their stamps.
//!
//! `psf = |Fourier transform of the pupil|^2`, and for a quadrature whose rows are chords, the transform is a matrix
//! product along xi followed by one along eta. Splitting the pupil by its parity in xi and in eta gives four
//! real matrix products over a quarter of the nodes and a quarter of the samples; sums and differences give all four
//! quadrants:
//!
//! ```text
//! sum over (s, t) in {+-1}^2 of P(s xi, t eta) e^{i s a} e^{i t b}
//!     = cos a cos b sum P + i sin a cos b sum s P + i cos a sin b sum t P - sin a sin b sum s t P
//! ```
//!
//! A field with several components consists of several pupils: each is transformed, and intensities are added before they become
//! pixels. Derivatives are transformed in the same way, together with the field of the stamp: d|U|^2 = 2 Re(conj(U) dU).
//!
//! One emitter is one lane of a vector: every operation below processes as many emitters as the CPU has lanes, and matrices are
//! broadcast. So no lane is wasted for any stamp size, and an emitter's stamp is bit-identical in any batch.

mod gradients;
mod matrix;
mod sampling;

pub(crate) use gradients::GradientBatch;
pub(crate) use matrix::columns_in_registers;
pub(crate) use sampling::{AxisSampling, Kernel};
pub use sampling::{MOST_SAMPLES_PER_PIXEL, Sampling};

use pulp::Simd;

use self::matrix::{Matrix, transpose};
use crate::pupil::{Field, NODE_BLOCK, Optics, PupilBasis, component, fill_pupil};

/// Everything that is shared by all emitters with the same number of quadrature rows.
#[derive(Debug)]
pub(crate) struct Plan {
    basis: PupilBasis,
    /// Along xi, one for each row: quadrature weight times cos and sin, nodes x samples.
    rows: Vec<[Matrix; 2]>,
    /// Along eta: cos and sin, rows x samples.
    columns: [Matrix; 2],
    /// The phase of a shift by a pixel along y on each row, in radians.
    tilt: Vec<f32>,
}

impl Plan {
    pub fn new(
        optics: &Optics,
        modes: usize,
        field: Field,
        rows: usize,
        [x, y]: [&AxisSampling; 2],
        block: usize,
    ) -> Self {
        let quadrature = field.quadrature(optics, rows);
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
        let tilt = quadrature.rows.iter().map(|row| (-ky * row.eta) as f32).collect();
        Self { basis: PupilBasis::new(optics, modes, field, &quadrature), rows: along_xi, columns, tilt }
    }

    /// Nodes, including padding of the last block.
    fn nodes(&self) -> usize {
        self.basis.weights.len()
    }

    /// How many values a plan with this number of rows and nodes on a quarter of the disk has.
    pub fn len(modes: usize, field: Field, [rows, nodes]: [usize; 2], [nx, ny]: [usize; 2]) -> usize {
        2 * (nodes * nx + rows * ny) + rows + PupilBasis::len(modes, field, nodes)
    }

    /// Along xi: from the parts of a pupil to the four sums with cos(a), then the four with sin(a), for each sample and row.
    #[inline(always)]
    fn along_xi<S: Simd>(&self, simd: S, parts: &[[S::f32s; 8]], along: &mut [S::f32s]) {
        let mut start = 0;
        for (r, [cos, sin]) in self.rows.iter().enumerate() {
            let nodes = &parts[start..start + cos.depth()];
            start += cos.depth();
            let out = &mut along.as_chunks_mut::<4>().0[2 * r..];
            cos.apply::<S, 0, 2>(simd, nodes, out, 2 * self.rows.len());
            sin.apply::<S, 4, 6>(simd, nodes, &mut out[1..], 2 * self.rows.len());
        }
    }

    /// The result of [`along_xi`](Self::along_xi) for the derivative with respect to y: a shift along y has the same phase along a row.
    #[inline(always)]
    fn tilted<S: Simd>(&self, simd: S, along: &[S::f32s], out: &mut [S::f32s]) {
        let rows = self.rows.len();
        let eights = along.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0);
        for (place, (along, out)) in eights.enumerate() {
            let slope = simd.splat_f32s(self.tilt[place % rows]);
            // i times an odd number: even in eta becomes odd, and vice versa
            for (to, from) in [(0, 2), (2, 0), (4, 6), (6, 4)] {
                out[to] = simd.neg_f32s(simd.mul_f32s(slope, along[from + 1]));
                out[to + 1] = simd.mul_f32s(slope, along[from]);
            }
        }
    }

    /// Along eta, for sample `i` along x: the sums with cos(b) and those with sin(b).
    #[inline(always)]
    fn along_eta<S: Simd>(
        &self,
        simd: S,
        along: &[S::f32s],
        i: usize,
        even: &mut [[S::f32s; 4]],
        odd: &mut [[S::f32s; 4]],
    ) {
        let column = &along.as_chunks::<8>().0[i * self.rows.len()..];
        self.columns[0].apply::<S, 0, 4>(simd, column, even, 1);
        self.columns[1].apply::<S, 2, 6>(simd, column, odd, 1);
    }

    /// The number of values of this plan.
    #[cfg(test)]
    pub fn values(&self) -> usize {
        self.rows.iter().flatten().chain(&self.columns).map(Matrix::values).sum::<usize>()
            + self.tilt.len()
            + self.basis.values()
    }
}

/// The geometry of the stamps, and the filters from samples to pixels.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub size: usize,
    pub x: AxisSampling,
    pub y: AxisSampling,
    /// Pixel area over (wavelength / NA)^2.
    pub pixel_area: f32,
}

impl Geometry {
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.x.bytes() + self.y.bytes()
    }
}

/// Maximum vectors of scratch space for a batch whose quadrature has this number of rows and nodes on a quarter of the disk, this
/// number of samples on one side along x and y, and this number of components of the field.
pub(crate) fn scratch_len(components: usize, [rows, nodes]: [usize; 2], size: usize, [nx, ny]: [usize; 2]) -> usize {
    let copies = if components > 1 { 2 } else { 1 };
    8 * (copies * nodes.next_multiple_of(NODE_BLOCK) + components * nx * rows) + image_len(size, [nx, ny])
}

/// The maximum number of emitters in a batch, on any processor.
pub(crate) const MOST_LANES: usize = 16;

/// Scratch space of a thread; grows to the size for the largest plan and is kept.
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
pub(crate) struct Batch<'a, 'b> {
    pub plan: &'a Plan,
    pub geometry: &'a Geometry,
    /// `[term][lane]`; unused lanes are zero.
    pub phase: &'a [f32],
    /// `[mode][lane]`, if any emitter has amplitude coefficients.
    pub magnitude: Option<&'a [f32]>,
    /// One stamp per used lane, `size * size` each.
    pub stamps: &'a mut [&'b mut [f32]],
    pub scratch: &'a mut Scratch,
}

impl pulp::WithSimd for Batch<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, geometry: g, phase, magnitude, stamps, scratch } = self;
        let (nodes, rows) = (plan.nodes(), plan.rows.len());
        let (nx, ny) = (g.x.half.len(), g.y.half.len());
        let components = plan.basis.components();
        let len = scratch_len(components, [rows, nodes], g.size, [nx, ny]);
        let (memory, _) = S::as_mut_simd_f32s(scratch.aligned(S::F32_LANES * len));
        let (parts, rest) = memory.split_at_mut(8 * nodes);
        let (weighted, rest) = rest.split_at_mut(if components > 1 { 8 * nodes } else { 0 });
        let (along, rest) = rest.split_at_mut(components * 8 * nx * rows);
        let (parts, weighted) = (parts.as_chunks_mut::<8>().0, weighted.as_chunks_mut::<8>().0);
        let energy = fill_pupil(simd, &plan.basis, phase, magnitude, parts);
        let scale = simd.mul_f32s(simd.splat_f32s(g.pixel_area), energy.inverse);
        for (c, along) in along.chunks_exact_mut(8 * nx * rows).enumerate() {
            plan.along_xi(simd, component(simd, &plan.basis, c, parts, weighted), along);
        }
        image(simd, plan, g, along, rest, &mut Intensity, stamps, 0, |sum| {
            // if there is no light, errors of the weights can be negative
            simd.mul_f32s(scale, simd.max_f32s(sum, simd.splat_f32s(0.0)))
        });
    }
}

/// Processes the field at a sample.
trait Light<S: Simd> {
    /// Gets the index of a sample `[component][x][y]` on a quarter of the grid, and the field there, at (+x, +y), (+x, -y), (-x, +y)
    /// and (-x, -y).
    fn of(&mut self, simd: S, place: usize, field: [[S::f32s; 2]; 4]) -> [S::f32s; 4];
}

/// The intensity.
struct Intensity;

impl<S: Simd> Light<S> for Intensity {
    #[inline(always)]
    fn of(&mut self, simd: S, _: usize, field: [[S::f32s; 2]; 4]) -> [S::f32s; 4] {
        let [pp, pm, mp, mm] = field;
        [power(simd, pp), power(simd, pm), power(simd, mp), power(simd, mm)]
    }
}

/// From the results of the transform along xi for each component to the pixels of stamps from `start` on: along eta, to what `light`
/// computes from the field, summed over components, and to pixels, each the `finish` of its weighted sum.
///
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the second half of two transforms")]
fn image<S: Simd>(
    simd: S,
    plan: &Plan,
    g: &Geometry,
    along: &[S::f32s],
    space: &mut [S::f32s],
    light: &mut impl Light<S>,
    stamps: &mut [&mut [f32]],
    start: usize,
    finish: impl Fn(S::f32s) -> S::f32s,
) {
    let (nx, ny) = (g.x.half.len(), g.y.half.len());
    let (grid_x, grid_y) = (g.x.grid_len(), g.y.grid_len());
    let length = 8 * nx * plan.rows.len();
    let (transformed, rest) = space.split_at_mut(8 * ny);
    let (columns, rest) = rest.split_at_mut(FILTERED * grid_y);
    // whole groups of lines; the last ones are outside the stamp if its size is not a multiple
    let (filtered, pixels) = rest.split_at_mut(g.size.next_multiple_of(FILTERED) * grid_x);
    let (even, odd) = transformed.as_chunks_mut::<4>().0.split_at_mut(ny);
    // along eta: whole columns at +x and -x, filtered to pixels along y
    for first in (0..nx).step_by(2) {
        let pair = first..nx.min(first + 2);
        for (i, columns) in pair.clone().zip(columns.chunks_exact_mut(2 * grid_y)) {
            let (plus, minus) = columns.split_at_mut(grid_y);
            for (c, along) in along.chunks_exact(length).enumerate() {
                plan.along_eta(simd, along, i, even, odd);
                let place = (c * nx + i) * ny;
                if c == 0 {
                    add_columns::<S, true>(simd, even, odd, light, place, plus, minus);
                } else {
                    add_columns::<S, false>(simd, even, odd, light, place, plus, minus);
                }
            }
        }
        let second = pair.end - 1;
        let places = [grid_x - nx + first, nx - 1 - first, grid_x - nx + second, nx - 1 - second];
        for (pixel, out) in filtered.chunks_exact_mut(grid_x).take(g.size).enumerate() {
            let sums = weighted_sums(simd, &g.y, pixel, columns, grid_y);
            // for a single column at the end, the second half of `columns` is stale and not written
            for (&at, sum) in places[..2 * pair.len()].iter().zip(sums) {
                out[at] = sum;
            }
        }
    }
    // along x, and from lanes to stamps
    for first in (0..g.size).step_by(FILTERED) {
        let lines = FILTERED.min(g.size - first);
        for pixel in 0..g.size {
            let sums = weighted_sums(simd, &g.x, pixel, &filtered[first * grid_x..], grid_x);
            for (k, sum) in sums.into_iter().enumerate() {
                pixels[k * g.size + pixel] = finish(sum);
            }
        }
        transpose::<S>(&pixels[..lines * g.size], stamps, start + first * g.size);
    }
}

/// Vectors of scratch space for [`image`].
fn image_len(size: usize, [nx, ny]: [usize; 2]) -> usize {
    8 * ny + FILTERED * (2 * ny + size) + size.next_multiple_of(FILTERED) * 2 * nx
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

/// Applies `light` to a column of samples at +x and one at -x, given the sums with cos(b) and with sin(b); stores or adds the result.
#[inline(always)]
fn add_columns<S: Simd, const FIRST: bool>(
    simd: S,
    even: &[[S::f32s; 4]],
    odd: &[[S::f32s; 4]],
    light: &mut impl Light<S>,
    place: usize,
    plus: &mut [S::f32s],
    minus: &mut [S::f32s],
) {
    let (samples, grid) = (even.len(), plus.len());
    for (j, (a, b)) in even.iter().zip(odd).enumerate() {
        let (low, high) = (samples - 1 - j, grid - samples + j);
        let before = [plus[high], plus[low], minus[high], minus[low]];
        let mut sums = light.of(simd, place + j, field(simd, a, b));
        if !FIRST {
            for (sum, before) in sums.iter_mut().zip(before) {
                *sum = simd.add_f32s(*sum, before);
            }
        }
        // the middle sample is its own mirror image
        (plus[low], plus[high], minus[low], minus[high]) = (sums[1], sums[0], sums[3], sums[2]);
    }
}

/// The field at (+x, +y), (+x, -y), (-x, +y), (-x, -y) from the sums with cos(b) and with sin(b), `[re, im]` each.
#[inline(always)]
fn field<S: Simd>(simd: S, a: &[S::f32s; 4], b: &[S::f32s; 4]) -> [[S::f32s; 2]; 4] {
    // U(s, t) = a01 + i s a23 + i t (b01 + i s b23), each pair a complex number
    let (re, im) = (simd.sub_f32s(a[0], a[3]), simd.add_f32s(a[1], a[2]));
    let (b_re, b_im) = (simd.sub_f32s(b[0], b[3]), simd.add_f32s(b[1], b[2]));
    let (re_m, im_m) = (simd.add_f32s(a[0], a[3]), simd.sub_f32s(a[1], a[2]));
    let (b_re_m, b_im_m) = (simd.add_f32s(b[0], b[3]), simd.sub_f32s(b[1], b[2]));
    [
        [simd.sub_f32s(re, b_im), simd.add_f32s(im, b_re)],
        [simd.add_f32s(re, b_im), simd.sub_f32s(im, b_re)],
        [simd.sub_f32s(re_m, b_im_m), simd.add_f32s(im_m, b_re_m)],
        [simd.add_f32s(re_m, b_im_m), simd.sub_f32s(im_m, b_re_m)],
    ]
}

/// re^2 + im^2.
#[inline(always)]
fn power<S: Simd>(simd: S, [re, im]: [S::f32s; 2]) -> S::f32s {
    simd.mul_add_e_f32s(re, re, simd.mul_f32s(im, im))
}
