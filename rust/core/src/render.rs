//! Frames of expected photons: emitters' stamps, added where and when they shine.

use rayon::prelude::*;

use crate::psf::{Emitters, Psf};
use crate::splat::{Band, Spot};
use crate::{Error, Result};

/// Light of an emitter in a frame.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    /// Index of the emitter.
    pub emitter: &'a [u32],
    /// Frame, counted from the first one of the buffer.
    pub frame: &'a [u32],
    /// Photons emitted.
    pub photons: &'a [f32],
}

/// Bytes of stamps held at a time; they stay in cache from the transform to the frames.
const STAMP_BYTES: usize = 4 << 20;

impl Psf {
    /// Overwrites `out`, frames `[t][y][x]` of `height` x `width` pixels, with expected photons. x and y of an emitter are
    /// in the frame's pixels; emitters outside still light the pixels that their stamps reach.
    ///
    /// Each emitter's stamp is computed once, whatever its number of records. Frames are sums in order of emitter and then of
    /// record, so a frame's bits depend neither on the number of threads nor on the frames rendered with it.
    ///
    /// # Errors
    /// If lengths disagree, an index is out of range, or a number is not finite.
    pub fn render(
        &self,
        emitters: &Emitters<'_>,
        records: &Records<'_>,
        [height, width]: [usize; 2],
        out: &mut [f32],
    ) -> Result<()> {
        self.check(emitters)?;
        let area = height.checked_mul(width).unwrap_or(0);
        if area == 0 || !out.len().is_multiple_of(area) {
            return Err(Error::Length { name: "out", got: out.len(), expected: area });
        }
        let frames = out.len() / area;
        let by_frame = sort(records, emitters.xyz.len(), frames)?;
        out.par_chunks_mut(area).for_each(|frame| frame.fill(0.0));

        let size = self.size();
        let reach = (size / 2) as f64;
        let visible = |x: f64, n: usize| x >= -0.5 - reach && x < n as f64 - 0.5 + reach;
        let mut lit = vec![false; emitters.xyz.len()];
        records.emitter.iter().for_each(|&e| lit[e as usize] = true);
        let mut spots = vec![None; emitters.xyz.len()];
        let mut chosen = Vec::new();
        for (i, &[x, y, z]) in emitters.xyz.iter().enumerate() {
            if !(x.is_finite() && y.is_finite() && z.is_finite()) {
                return Err(Error::Value {
                    name: "an emitter's position",
                    got: format!("not finite (emitter {i})"),
                    expected: "finite numbers",
                });
            }
            if lit[i] && visible(x, width) && visible(y, height) {
                let (cx, cy) = ((x + 0.5).floor(), (y + 0.5).floor());
                spots[i] = Some(Spot { x: cx as i64, y: cy as i64, stamp: 0 });
                chosen.push((i, [x - cx, y - cy, z]));
            }
        }

        // Enough tasks for all threads even where a chunk has few frames.
        let bands = (4 * rayon::current_num_threads()).div_ceil(frames.max(1)).clamp(1, height.div_ceil(16));
        let rows = height.div_ceil(bands);
        let mut cursor: Vec<usize> = by_frame.start[..frames].to_vec();
        let block = (STAMP_BYTES / (4 * size * size)).max(64);
        let mut stamps = vec![0.0; block.min(chosen.len()) * size * size];
        for chosen in chosen.chunks(block) {
            let stamps = &mut stamps[..chosen.len() * size * size];
            self.stamps_of(emitters, chosen, stamps)?;
            for (k, &(i, _)) in chosen.iter().enumerate() {
                if let Some(spot) = &mut spots[i] {
                    spot.stamp = k;
                }
            }
            let last = chosen.last().map_or(0, |c| c.0);
            let (stamps, spots) = (&*stamps, &*spots);
            out.par_chunks_mut(area).zip(&mut cursor).enumerate().for_each(|(t, (frame, cursor))| {
                let waiting = &by_frame.records[*cursor..by_frame.start[t + 1]];
                let now = &waiting[..waiting.partition_point(|r| r.0 as usize <= last)];
                *cursor += now.len();
                if now.is_empty() {
                    return;
                }
                frame.par_chunks_mut(rows * width).enumerate().for_each(|(b, pixels)| {
                    Band { pixels, width, first_row: b * rows, size, stamps }.add(now, spots);
                });
            });
        }
        Ok(())
    }
}

/// Records sorted by frame and emitter, records of the same emitter in the order given.
struct ByFrame {
    /// The first record of each frame, and the number of records.
    start: Vec<usize>,
    /// Emitter and photons.
    records: Vec<(u32, f32)>,
}

fn sort(records: &Records<'_>, emitters: usize, frames: usize) -> Result<ByFrame> {
    let n = records.emitter.len();
    for (name, got) in [("frame_ix", records.frame.len()), ("photons", records.photons.len())] {
        if got != n {
            return Err(Error::Length { name, got, expected: n });
        }
    }
    let mut start = vec![0usize; frames + 1];
    for ((&e, &t), &p) in records.emitter.iter().zip(records.frame).zip(records.photons) {
        if e as usize >= emitters {
            return Err(Error::value("the emitter of a record", e, "the index of an emitter"));
        }
        if t as usize >= frames {
            return Err(Error::value("the frame of a record", t, "less than the number of frames"));
        }
        if !(p.is_finite() && p >= 0.0) {
            return Err(Error::value("the photons of a record", p, "a finite number, at least 0"));
        }
        start[t as usize + 1] += 1;
    }
    for t in 0..frames {
        start[t + 1] += start[t];
    }
    let mut next = start.clone();
    let mut sorted = vec![(0, 0.0); n];
    for ((&e, &t), &p) in records.emitter.iter().zip(records.frame).zip(records.photons) {
        sorted[next[t as usize]] = (e, p);
        next[t as usize] += 1;
    }
    for t in 0..frames {
        sorted[start[t]..start[t + 1]].sort_by_key(|r| r.0); // stable
    }
    Ok(ByFrame { start, records: sorted })
}
