//! The filter that converts a map to cubic B-spline coefficients.

use rayon::prelude::*;

use crate::simd::dispatch;
use crate::{Error, Result};

/// The pole of the cubic spline's filter, sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;

/// Terms of the filter's initial value; the next power of the pole is below 1e-22.
const START: usize = 40;

/// Lines that are filtered together along x.
const LINES: usize = 16;

/// Converts planes `[y][x]` with rows of `width` values to cubic B-spline coefficients, in place. In parallel on rayon's
/// current pool.
///
/// # Errors
/// [`Error::Length`] if a plane is not a whole number of rows.
pub fn spline_filter(planes: &mut [&mut [f32]], width: usize) -> Result<()> {
    if let Some(plane) = planes.iter().find(|plane| width == 0 || !plane.len().is_multiple_of(width)) {
        let expected = plane.len().checked_div(width).unwrap_or(0) * width;
        return Err(Error::Length { name: "a plane", got: plane.len(), expected });
    }
    planes.par_iter_mut().for_each(|plane| dispatch(Filter { plane, width }));
    Ok(())
}

struct Filter<'a> {
    plane: &'a mut [f32],
    width: usize,
}

impl pulp::WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { plane, width } = self;
        let mut start = vec![0.0; width.max(LINES)];
        filter_down(plane, width, &mut start);
        // along x, with a few lines at a time transposed
        let mut turned = vec![[0.0; LINES]; width];
        for lines in plane.chunks_mut(LINES * width) {
            for (l, line) in lines.chunks_exact(width).enumerate() {
                turned.iter_mut().zip(line).for_each(|(to, &from)| to[l] = from);
            }
            filter_down(turned.as_flattened_mut(), LINES, &mut start);
            for (l, line) in lines.chunks_exact_mut(width).enumerate() {
                line.iter_mut().zip(&turned).for_each(|(to, from)| *to = from[l]);
            }
        }
    }
}

/// Filters every column of some rows. `start` is scratch space for a row.
#[inline(always)]
fn filter_down(rows: &mut [f32], width: usize, start: &mut [f32]) {
    let n = rows.len() / width;
    if n < 2 {
        return;
    }
    let pole = POLE as f32;
    // First row of the causal filter, for the mirrored and periodic continuation.
    let start = &mut start[..width];
    start.fill(0.0);
    let period = 2 * (n - 1);
    for (k, row) in rows.chunks_exact(width).take(START).enumerate() {
        let mirrored = if k == 0 || k == n - 1 { 0.0 } else { POLE.powi((period - k) as i32) };
        let weight = ((POLE.powi(k as i32) + mirrored) / (1.0 - POLE.powi(period as i32))) as f32;
        start.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * value);
    }
    rows[..width].copy_from_slice(start);
    for k in 1..n {
        let (above, here) = rows.split_at_mut(k * width);
        let above = &above[(k - 1) * width..];
        here[..width].iter_mut().zip(above).for_each(|(value, &above)| *value += pole * above);
    }
    // Anticausal filter, with the total gain of 6.
    let (above, last) = rows.split_at_mut((n - 1) * width);
    let gain = (6.0 * POLE / (POLE * POLE - 1.0)) as f32;
    let above = &above[(n - 2) * width..];
    last.iter_mut().zip(above).for_each(|(value, &above)| *value = gain * (*value + pole * above));
    for k in (0..n - 1).rev() {
        let (here, below) = rows.split_at_mut((k + 1) * width);
        let here = &mut here[k * width..];
        here.iter_mut().zip(&*below).for_each(|(value, &below)| *value = pole * (below - 6.0 * *value));
    }
}
