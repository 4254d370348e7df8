//! Emitters in blocks, from the top row of frames to the bottom: their stamps, and the rows that they complete.

use std::ops::Range;

use rayon::prelude::*;

use super::scene::Placed;
use super::splat::Band;
use crate::psf::{Emitters, Psf};
use crate::{Result, Stop};

/// Bytes of stamps held at a time; they stay in the cache between transform and frames.
const STAMP_BYTES: usize = 4 << 20;

/// Minimum number of stamps per block, for large stamps.
const LEAST_STAMPS: usize = 64;

/// Minimum number of rows per task.
const LEAST_ROWS: usize = 16;

/// The maximum number of stamps of this size that are held at a time.
pub(super) fn stamps_at_a_time(pixels: usize) -> usize {
    (STAMP_BYTES / (4 * pixels)).max(LEAST_STAMPS)
}

/// A block of emitters with computed stamps, and its effect on the rows of every frame.
pub(super) struct Block {
    emitters: Range<usize>,
    /// The first row that is not complete yet.
    pub from: usize,
    /// The first row to which nothing has been added; its contents are undefined.
    fresh: usize,
    /// The end of the rows to which this block adds.
    to: usize,
    /// The end of the rows that are complete after this block.
    pub whole: usize,
}

impl Psf {
    /// Computes the stamps of a scene's emitters block by block, from the top row to the bottom, and calls `with` for each.
    pub(super) fn block_by_block(
        &self,
        emitters: &Emitters<'_>,
        placed: &Placed,
        height: usize,
        stop: &Stop,
        mut with: impl FnMut(&Block, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let stamp = self.size() * self.size();
        let count = placed.chosen.len();
        let length = stamps_at_a_time(stamp).min(count);
        let mut stamps = vec![0.0; length * stamp];
        let half = (self.size() / 2) as i64;
        let row = |y: i64| y.clamp(0, height as i64) as usize;
        let mut block = Block { emitters: 0..0, from: 0, fresh: 0, to: 0, whole: 0 };
        for start in (0..count.max(1)).step_by(length.max(1)) {
            let end = (start + length).min(count);
            let stamps = &mut stamps[..(end - start) * stamp];
            self.stamps_of(emitters, &placed.chosen[start..end], stamps, stop)?;
            let whole = if end < count { row(placed.spots[end].y - half) } else { height };
            let reached = if end > start { row(placed.spots[end - 1].y + half + 1) } else { height };
            block = Block { emitters: start..end, from: block.whole, fresh: block.to, to: reached.max(whole), whole };
            with(&block, stamps)?;
        }
        Ok(())
    }

    /// Adds a block of stamps to frame `t`. `cursor` is the first of its records that has not been added yet.
    #[allow(clippy::too_many_arguments, reason = "the inner part of two loops")]
    pub(super) fn add(
        &self,
        placed: &Placed,
        block: &Block,
        stamps: &[f32],
        t: usize,
        cursor: &mut usize,
        frame: &mut [f32],
        width: usize,
        stop: &Stop,
    ) -> Result<()> {
        let waiting = &placed.records[*cursor..placed.start[t + 1]];
        let now = &waiting[..waiting.partition_point(|r| (r.0 as usize) < block.emitters.end)];
        *cursor += now.len();
        // Enough tasks for all threads, even with few frames.
        let frames = placed.start.len() - 1;
        let tasks = (4 * rayon::current_num_threads()).div_ceil(frames);
        let rows = (block.to - block.from).div_ceil(tasks).max(LEAST_ROWS);
        let pixels = &mut frame[block.from * width..block.to * width];
        pixels.par_chunks_mut(rows * width).enumerate().try_for_each(|(b, pixels)| {
            let first_row = block.from + b * rows;
            let used = (block.fresh.saturating_sub(first_row) * width).min(pixels.len());
            pixels[used..].fill(0.0);
            let first_emitter = block.emitters.start;
            Band { pixels, width, first_row, size: self.size(), stamps, first_emitter }.add(now, &placed.spots, stop)
        })
    }
}
