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

use pulp::Simd;

use crate::optics::{Defocus, Optics};
use crate::pupil::{NODE_BLOCK, NODES_FEWER, ParityClass, PupilBasis};
use crate::quadrature::DiskQuadrature;
use crate::sampling::AxisSampling;

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
}

/// A real matrix, cut into blocks of columns as wide as the registers allow.
#[derive(Debug)]
struct Matrix {
    depth: usize,
    columns: usize,
    block: usize,
    /// `[block][row][column within the block]`
    values: Vec<f32>,
}

/// The widest block of columns.
const MOST_COLUMNS: usize = 6;

/// How many columns a CPU with this many vector registers keeps in them, four vectors each.
pub(crate) fn columns_in_registers(registers: usize) -> usize {
    if registers >= 32 { MOST_COLUMNS } else { 3 }
}

impl Matrix {
    fn new(depth: usize, columns: usize, most: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        // the fewest blocks, as even as possible
        let block = columns.div_ceil(columns.div_ceil(most));
        let mut values = Vec::with_capacity(depth * columns);
        for first in (0..columns).step_by(block) {
            for k in 0..depth {
                values.extend((first..columns.min(first + block)).map(|i| value(k, i) as f32));
            }
        }
        Self { depth, columns, block, values }
    }

    /// `out[column] = sum over rows of matrix[row][column] * input[row]`, four vectors at a time.
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, input: &[[S::f32s; 4]], out: &mut [[S::f32s; 4]]) {
        let input = &input[..self.depth];
        let blocks = self.values.chunks(self.depth * self.block);
        for (values, out) in blocks.zip(out[..self.columns].chunks_mut(self.block)) {
            match out.len() {
                1 => apply_block::<S, 1>(simd, values, input, out),
                2 => apply_block::<S, 2>(simd, values, input, out),
                3 => apply_block::<S, 3>(simd, values, input, out),
                4 => apply_block::<S, 4>(simd, values, input, out),
                5 => apply_block::<S, 5>(simd, values, input, out),
                _ => apply_block::<S, MOST_COLUMNS>(simd, values, input, out),
            }
        }
    }
}

#[inline(always)]
fn apply_block<S: Simd, const B: usize>(simd: S, values: &[f32], input: &[[S::f32s; 4]], out: &mut [[S::f32s; 4]]) {
    let mut sums = [[simd.splat_f32s(0.0); 4]; B];
    for (four, row) in input.iter().zip(values.as_chunks::<B>().0) {
        for b in 0..B {
            let value = simd.splat_f32s(row[b]);
            for v in 0..4 {
                sums[b][v] = simd.mul_add_e_f32s(four[v], value, sums[b][v]);
            }
        }
    }
    out.copy_from_slice(&sums);
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
        let lanes = S::F32_LANES;
        let length = 4 * (2 * nodes + 2 * nx * rows + nx.max(ny) + ny)
            + FILTERED * (grid_y + g.size)
            + g.size.next_multiple_of(FILTERED) * grid_x;
        let memory = scratch.aligned(lanes * length);
        let (mut rest, _) = S::as_mut_simd_f32s(memory);
        let (even, odd) = (take_fours::<S>(&mut rest, nodes), take_fours::<S>(&mut rest, nodes));
        let (along_cos, along_sin) = (take_fours::<S>(&mut rest, nx * rows), take_fours::<S>(&mut rest, nx * rows));
        let (one, two) = (take_fours::<S>(&mut rest, nx.max(ny)), take_fours::<S>(&mut rest, ny));
        let (columns, rest) = rest.split_at_mut(FILTERED * grid_y);
        // whole groups of lines, the last ones beyond the stamp where its size is no multiple
        let (filtered, pixels) = rest.split_at_mut(g.size.next_multiple_of(FILTERED) * grid_x);
        let scale = fill_pupil(simd, &plan.basis, phase, magnitude, even, odd);
        let scale = simd.mul_f32s(simd.splat_f32s(g.pixel_area), scale);

        // along xi: at each row and sample, the four sums; those that go with cos(b) apart from those with sin(b)
        let mut start = 0;
        for (r, [cos, sin]) in plan.rows.iter().enumerate() {
            let nodes = start..start + cos.depth;
            start = nodes.end;
            cos.apply(simd, &even[nodes.clone()], one);
            for (i, v) in one[..nx].iter().enumerate() {
                let (c, s) = (&mut along_cos[i * rows + r], &mut along_sin[i * rows + r]);
                (c[0], c[1], s[0], s[1]) = (v[0], v[1], v[2], v[3]);
            }
            sin.apply(simd, &odd[nodes], one);
            for (i, v) in one[..nx].iter().enumerate() {
                let (c, s) = (&mut along_cos[i * rows + r], &mut along_sin[i * rows + r]);
                (c[2], c[3], s[2], s[3]) = (v[0], v[1], v[2], v[3]);
            }
        }

        // along eta: whole columns of intensity at +x and -x, filtered to pixels along y
        for first in (0..nx).step_by(2) {
            let pair = first..nx.min(first + 2);
            for (i, columns) in pair.clone().zip(columns.chunks_exact_mut(2 * grid_y)) {
                plan.columns[0].apply(simd, &along_cos[i * rows..][..rows], one);
                plan.columns[1].apply(simd, &along_sin[i * rows..][..rows], two);
                let (plus, minus) = columns.split_at_mut(grid_y);
                for (j, (a, b)) in one[..ny].iter().zip(&two[..ny]).enumerate() {
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
                    pixels[k * g.size + pixel] = simd.mul_f32s(scale, sum);
                }
            }
            let values: &[f32] = pulp::bytemuck::cast_slice(pixels);
            for (lane, stamp) in stamps.iter_mut().enumerate() {
                let out = &mut stamp[first * g.size..][..lines * g.size];
                for (out, pixel) in out.iter_mut().zip(values.chunks_exact(S::F32_LANES)) {
                    *out = pixel[lane];
                }
            }
        }
    }
}

/// Lines of samples that are filtered at a time.
const FILTERED: usize = 4;

/// Cuts the next `count` groups of four vectors off the work space.
#[allow(clippy::mut_mut, reason = "the slice itself is shortened")]
#[inline(always)]
fn take_fours<'a, S: Simd>(rest: &mut &'a mut [S::f32s], count: usize) -> &'a mut [[S::f32s; 4]] {
    let (taken, left) = std::mem::take(rest).split_at_mut(4 * count);
    *rest = left;
    taken.as_chunks_mut::<4>().0
}

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

/// Sums of a class's terms on a block of nodes.
#[inline(always)]
fn class_sums<S: Simd>(simd: S, class: &ParityClass, block: usize, coefficients: &[S::f32s]) -> [S::f32s; NODE_BLOCK] {
    let mut sums = [simd.splat_f32s(0.0); NODE_BLOCK];
    let length = NODE_BLOCK * class.terms.len();
    let values = class.values[block * length..][..length].as_chunks::<NODE_BLOCK>().0;
    for (&term, values) in class.terms.iter().zip(values) {
        let c = coefficients[term];
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = simd.mul_add_e_f32s(c, simd.splat_f32s(value), *sum);
        }
    }
    sums
}

/// The sums of the four parities.
#[inline(always)]
fn parity_sums<S: Simd>(
    simd: S,
    classes: &[ParityClass; 4],
    block: usize,
    coefficients: &[S::f32s],
) -> [[S::f32s; NODE_BLOCK]; 4] {
    [
        class_sums(simd, &classes[0], block, coefficients),
        class_sums(simd, &classes[1], block, coefficients),
        class_sums(simd, &classes[2], block, coefficients),
        class_sums(simd, &classes[3], block, coefficients),
    ]
}

/// The four mirror images (+xi, +eta), (-xi, +eta), (+xi, -eta), (-xi, -eta) of a sum of the four parities.
#[inline(always)]
fn mirror_images<S: Simd>(simd: S, ee: S::f32s, oe: S::f32s, eo: S::f32s, oo: S::f32s) -> [S::f32s; 4] {
    let (p, q) = (simd.add_f32s(ee, oe), simd.add_f32s(eo, oo));
    let (m, n) = (simd.sub_f32s(ee, oe), simd.sub_f32s(eo, oo));
    [simd.add_f32s(p, q), simd.add_f32s(m, n), simd.sub_f32s(p, q), simd.sub_f32s(m, n)]
}

/// Fills `even` with the pupil's parts that are even in xi, `odd` with the odd ones, each `[re, im]` of the part even in eta
/// and then of the part odd in eta. Returns 1 / integral of |P|^2.
#[inline(always)]
fn fill_pupil<S: Simd>(
    simd: S,
    basis: &PupilBasis,
    phase: &[f32],
    magnitude: Option<&[f32]>,
    even: &mut [[S::f32s; 4]],
    odd: &mut [[S::f32s; 4]],
) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let (phase, _) = S::as_simd_f32s(phase);
    let magnitude = magnitude.map(|m| S::as_simd_f32s(m).0);
    let mut energy = zero;
    let blocks = even.as_chunks_mut::<NODE_BLOCK>().0.iter_mut().zip(odd.as_chunks_mut::<NODE_BLOCK>().0);
    for (block, (even, odd)) in blocks.enumerate() {
        let [ee, oe, eo, oo] = parity_sums(simd, &basis.phase, block, phase);
        let amplitude = match magnitude {
            Some(m) => Some(parity_sums(simd, &basis.magnitude, block, m)),
            None => None,
        };
        for k in 0..NODE_BLOCK {
            let mut waves = [[zero; 2]; 4];
            let images = mirror_images(simd, ee[k], oe[k], eo[k], oo[k]);
            for (wave, turns) in waves.iter_mut().zip(images) {
                *wave = unit_wave(simd, turns);
            }
            if let Some([ee, oe, eo, oo]) = &amplitude {
                let one = simd.splat_f32s(1.0);
                let images = mirror_images(simd, simd.add_f32s(one, ee[k]), oe[k], eo[k], oo[k]);
                let mut squares = zero;
                for (wave, image) in waves.iter_mut().zip(images) {
                    let a = simd.max_f32s(image, zero);
                    squares = simd.mul_add_e_f32s(a, a, squares);
                    *wave = [simd.mul_f32s(wave[0], a), simd.mul_f32s(wave[1], a)];
                }
                let weight = simd.splat_f32s(basis.weights[block * NODE_BLOCK + k]);
                energy = simd.mul_add_e_f32s(squares, weight, energy);
            }
            for part in 0..2 {
                let [pp, mp, pm, mm] = [waves[0][part], waves[1][part], waves[2][part], waves[3][part]];
                let (up, down) = (simd.add_f32s(pp, mp), simd.add_f32s(pm, mm));
                (even[k][part], even[k][2 + part]) = (simd.add_f32s(up, down), simd.sub_f32s(up, down));
                let (up, down) = (simd.sub_f32s(pp, mp), simd.sub_f32s(pm, mm));
                (odd[k][part], odd[k][2 + part]) = (simd.add_f32s(up, down), simd.sub_f32s(up, down));
            }
        }
    }
    if magnitude.is_some() {
        // a pupil that lets no light through gives a dark stamp, not NaN
        simd.div_f32s(simd.splat_f32s(1.0), simd.max_f32s(energy, simd.splat_f32s(1e-20)))
    } else {
        simd.splat_f32s(std::f32::consts::FRAC_1_PI)
    }
}

/// cos and sin of an angle in half-turns, to 1e-7.
#[inline(always)]
fn unit_wave<S: Simd>(simd: S, half_turns: S::f32s) -> [S::f32s; 2] {
    // Adding 1.5 * 2^23 rounds to an integer whose parity is the lowest bit of the sum.
    let magic = simd.splat_f32s(12_582_912.0);
    let rounded = simd.add_f32s(half_turns, magic);
    let r = simd.sub_f32s(half_turns, simd.sub_f32s(rounded, magic));
    let sign = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(31));
    let r2 = simd.mul_f32s(r, r);
    let cos = polynomial(simd, &COS_PI, r2);
    let sin = simd.mul_f32s(r, polynomial(simd, &SIN_PI, r2));
    [flip(simd, cos, sign), flip(simd, sin, sign)]
}

/// The value with its sign changed where the highest bit of `sign` is set.
#[inline(always)]
fn flip<S: Simd>(simd: S, value: S::f32s, sign: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.xor_u32s(simd.transmute_u32s_f32s(value), sign))
}

/// Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, coefficients: &[f32; N], x: S::f32s) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(coefficients[i]));
    }
    sum
}

/// cos(pi r) and sin(pi r) / r as polynomials of r^2 for |r| <= 1/2 (Chebyshev interpolation; errors 2e-10 and 7e-9).
const COS_PI: [f32; 6] = [1.0, -4.934_802, 4.058_709, -1.335_212, 0.234_937_07, -0.024_395_932];
const SIN_PI: [f32; 5] = [std::f32::consts::PI, -5.167_710_3, 2.550_077_4, -0.598_290_4, 0.077_655_91];
