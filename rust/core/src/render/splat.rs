//! Adds stamps to pixels, clipped at all four edges.

use crate::simd::{dispatch, mul_add};
use crate::{Result, Stop};

/// Records that are added between two checks for a stop request.
const RECORDS: usize = 1024;

/// Position of an emitter's stamp.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// Column of the frame at the stamp's central pixel; may be outside the frame.
    pub x: i64,
    /// The row.
    pub y: i64,
}

/// Whole rows of a frame.
pub(super) struct Band<'a> {
    pub pixels: &'a mut [f32],
    pub width: usize,
    pub first_row: usize,
    /// Side of a stamp in pixels.
    pub size: usize,
    pub stamps: &'a [f32],
    /// The emitter of the first stamp.
    pub first_emitter: usize,
}

impl Band<'_> {
    /// Adds the stamps of records (emitter, photons) in order.
    pub fn add(&mut self, records: &[(u32, f32)], spots: &[Spot], stop: &Stop) -> Result<()> {
        records.chunks(RECORDS).try_for_each(|records| {
            stop.check()?;
            dispatch(Add { band: self, records, spots });
            Ok(())
        })
    }
}

struct Add<'a, 'b> {
    band: &'a mut Band<'b>,
    records: &'a [(u32, f32)],
    spots: &'a [Spot],
}

impl pulp::WithSimd for Add<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let &mut Band { ref mut pixels, width, first_row, size, stamps, first_emitter } = self.band;
        let half = (size / 2) as i64;
        let height = pixels.len() / width;
        for &(emitter, photons) in self.records {
            let spot = self.spots[emitter as usize];
            let (top, left) = (spot.y - half - first_row as i64, spot.x - half);
            let (columns, skip) = overlap(left, size, width);
            let (rows, skip_rows) = overlap(top, size, height);
            if columns.is_empty() {
                continue;
            }
            let stamp = &stamps[(emitter as usize - first_emitter) * size * size..][..size * size];
            let lines = stamp.chunks_exact(size).skip(skip_rows);
            for (y, line) in rows.zip(lines) {
                let to = &mut pixels[y * width..][columns.clone()];
                for (to, &from) in to.iter_mut().zip(&line[skip..]) {
                    *to = mul_add::<S>(from, photons, *to);
                }
            }
        }
    }
}

/// The part of `0..limit` that `length` indices from `start` on cover, and how many of them come before it.
fn overlap(start: i64, length: usize, limit: usize) -> (std::ops::Range<usize>, usize) {
    let first = start.clamp(0, limit as i64);
    let last = (start + length as i64).clamp(first, limit as i64);
    (first as usize..last as usize, (first - start).max(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn clipping_is_what_a_loop_over_all_pixels_does(
            x in -9i64..30, y in -9i64..30, half in 0usize..6, width in 1usize..20, first_row in 0usize..5, height in 1usize..12,
        ) {
            let size = 2 * half + 1;
            let stamp: Vec<f32> = (0..size * size).map(|i| i as f32 + 1.0).collect();
            let mut pixels = vec![0.5; width * height];
            let mut band = Band { pixels: &mut pixels, width, first_row, size, stamps: &stamp, first_emitter: 0 };
            band.add(&[(0, 2.0)], &[Spot { x, y }], &Stop::default()).unwrap();
            for (i, &pixel) in pixels.iter().enumerate() {
                let (sx, sy) = ((i % width) as i64 - x + half as i64, (i / width + first_row) as i64 - y + half as i64);
                let inside = (0..size as i64).contains(&sx) && (0..size as i64).contains(&sy);
                let expected = 0.5 + if inside { 2.0 * stamp[sy as usize * size + sx as usize] } else { 0.0 };
                prop_assert!((pixel - expected).abs() < 1e-6);
            }
        }
    }
}
