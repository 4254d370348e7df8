//! Products of real matrices, the same for all emitters, with vectors of emitters.

use pulp::Simd;

/// A real matrix, divided into blocks of columns as wide as the registers allow.
#[derive(Debug)]
pub(super) struct Matrix {
    depth: usize,
    columns: usize,
    block: usize,
    /// `[block][row][column within the block]`
    values: Vec<f32>,
}

/// The widest block of columns.
const MOST_COLUMNS: usize = 6;

/// How many columns fit into this number of vector registers, four vectors each.
pub(crate) fn columns_in_registers(registers: usize) -> usize {
    if registers >= 32 { MOST_COLUMNS } else { 3 }
}

impl Matrix {
    pub fn new(depth: usize, columns: usize, most: usize, value: impl Fn(usize, usize) -> f64) -> Self {
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

    /// The number of values.
    #[cfg(test)]
    pub fn values(&self) -> usize {
        self.values.len()
    }

    /// Rows of the matrix.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// `out[column * stride] = sum over rows of matrix[row][column] * input[row]`, for four of the eight vectors of
    /// each row: `FIRST`, the next one, `THIRD` and the next one.
    #[inline(always)]
    pub fn apply<S: Simd, const FIRST: usize, const THIRD: usize>(
        &self,
        simd: S,
        input: &[[S::f32s; 8]],
        out: &mut [[S::f32s; 4]],
        stride: usize,
    ) {
        let input = &input[..self.depth];
        let blocks = self.values.chunks(self.depth * self.block);
        for (values, first) in blocks.zip((0..self.columns).step_by(self.block)) {
            let out = &mut out[first * stride..];
            match self.block.min(self.columns - first) {
                1 => apply_block::<S, 1, FIRST, THIRD>(simd, values, input, out, stride),
                2 => apply_block::<S, 2, FIRST, THIRD>(simd, values, input, out, stride),
                3 => apply_block::<S, 3, FIRST, THIRD>(simd, values, input, out, stride),
                4 => apply_block::<S, 4, FIRST, THIRD>(simd, values, input, out, stride),
                5 => apply_block::<S, 5, FIRST, THIRD>(simd, values, input, out, stride),
                _ => apply_block::<S, MOST_COLUMNS, FIRST, THIRD>(simd, values, input, out, stride),
            }
        }
    }
}

/// A block of `B` columns, with its sums in registers.
#[inline(always)]
fn apply_block<S: Simd, const B: usize, const FIRST: usize, const THIRD: usize>(
    simd: S,
    values: &[f32],
    input: &[[S::f32s; 8]],
    out: &mut [[S::f32s; 4]],
    stride: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); 4]; B];
    for (vectors, row) in input.iter().zip(values.as_chunks::<B>().0) {
        let four = [vectors[FIRST], vectors[FIRST + 1], vectors[THIRD], vectors[THIRD + 1]];
        for b in 0..B {
            let value = simd.splat_f32s(row[b]);
            for v in 0..4 {
                sums[b][v] = simd.mul_add_e_f32s(four[v], value, sums[b][v]);
            }
        }
    }
    for (out, sum) in out.iter_mut().step_by(stride).zip(sums) {
        *out = sum;
    }
}

/// Writes vectors of emitters to each emitter's own values: `outputs[lane][start + i] = values[i][lane]`.
#[inline(always)]
pub(super) fn transpose<S: Simd>(values: &[S::f32s], outputs: &mut [&mut [f32]], start: usize) {
    let lanes = S::F32_LANES;
    let floats: &[f32] = pulp::bytemuck::cast_slice(values);
    // squares of 4 x 4, which compile to shuffles
    let rest = values.len() / 4 * 4;
    for (quad, outputs) in outputs.chunks_exact_mut(4).enumerate() {
        for (place, group) in floats.chunks_exact(4 * lanes).enumerate() {
            let mut square = [[0.0; 4]; 4];
            for i in 0..4 {
                let row = group[i * lanes + 4 * quad..].first_chunk::<4>().copied().unwrap_or_default();
                for (column, value) in square.iter_mut().zip(row) {
                    column[i] = value;
                }
            }
            for (out, column) in outputs.iter_mut().zip(square) {
                out[start + 4 * place..][..4].copy_from_slice(&column);
            }
        }
    }
    // the last few values, and emitters that do not fill four lanes
    let whole = outputs.len() / 4 * 4;
    for (lane, out) in outputs.iter_mut().enumerate() {
        let done = if lane < whole { rest } else { 0 };
        for (out, vector) in out[start + done..].iter_mut().zip(floats[done * lanes..].chunks_exact(lanes)) {
            *out = vector[lane];
        }
    }
}
