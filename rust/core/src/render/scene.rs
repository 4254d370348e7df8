//! The input of rendering: emitters and their records, in the order in which frames are summed.

use std::ops::Range;

use super::splat::Spot;
use crate::camera::Background;
use crate::psf::{Emitters, Psf};
use crate::{Error, Result, Stop};

/// Photons of an emitter in a frame.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    /// Index of the emitter.
    pub emitter: &'a [u32],
    /// Frame, counted from the first one of the buffer.
    pub frame: &'a [u32],
    /// Photons.
    pub photons: &'a [f32],
}

/// The input of rendering.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The emitters.
    pub emitters: Emitters<'a>,
    /// The records: frames and photons of the emitters.
    pub records: Records<'a>,
    /// Position of pixel (0, 0) of the frames in emitter coordinates: x and y in px.
    pub origin: [f64; 2],
    /// Background of the frames, used only by cameras.
    pub background: Option<Background<'a>>,
}

/// A scene on its frames: the emitters that reach any pixel, ordered by row and then by index, and their records, ordered by
/// frame and then by emitter, those of the same emitter in their original order.
pub(super) struct Placed {
    /// The first record of each frame, and the number of records.
    pub start: Vec<usize>,
    /// Emitter (in the order here) and photons.
    pub records: Vec<(u32, f32)>,
    /// Position of each emitter's stamp.
    pub spots: Vec<Spot>,
    /// Index, and position relative to the stamp's central pixel.
    pub chosen: Vec<(usize, [f64; 3])>,
}

impl Placed {
    /// The records of frame `t` whose stamps reach any of `rows`, and possibly some more.
    pub fn reaching(&self, t: usize, rows: Range<usize>, half: usize) -> &[(u32, f32)] {
        let records = &self.records[self.start[t]..self.start[t + 1]];
        let y = |record: &(u32, f32)| self.spots[record.0 as usize].y;
        let (low, high) = (rows.start as i64 - half as i64, (rows.end + half) as i64);
        &records[records.partition_point(|r| y(r) < low)..records.partition_point(|r| y(r) < high)]
    }
}

impl Psf {
    /// Checks, sorts and places a scene for frames with `len` pixels altogether.
    pub(super) fn placed(
        &self,
        scene: &Scene<'_>,
        [height, width]: [usize; 2],
        len: usize,
        stop: &Stop,
    ) -> Result<Placed> {
        let Scene { emitters, records, origin, .. } = scene;
        self.check_lengths(emitters)?;
        let area = height.checked_mul(width).unwrap_or(0);
        if area == 0 || !len.is_multiple_of(area) {
            return Err(Error::Length { name: "out", got: len, expected: area });
        }
        let frames = len / area;
        records.check(emitters.xyz.len(), frames)?;
        let reach = (self.size() / 2) as f64;
        let visible = |x: f64, n: usize| x >= -0.5 - reach && x < n as f64 - 0.5 + reach;
        let mut lit = vec![false; emitters.xyz.len()];
        records.emitter.iter().for_each(|&e| lit[e as usize] = true);
        stop.check()?;
        let mut placed = vec![];
        for (i, &[x, y, z]) in emitters.xyz.iter().enumerate() {
            let [x, y] = [x - origin[0], y - origin[1]];
            if !(x.is_finite() && y.is_finite() && z.is_finite()) {
                return Err(Error::Value {
                    name: "an emitter's position",
                    got: format!("not finite (emitter {i})"),
                    expected: "finite numbers",
                });
            }
            if lit[i] && visible(x, width) && visible(y, height) {
                let (cx, cy) = ((x + 0.5).floor(), (y + 0.5).floor());
                placed.push((Spot { x: cx as i64, y: cy as i64 }, (i, [x - cx, y - cy, z])));
            }
        }
        stop.check()?;
        placed.sort_by_key(|(spot, _)| spot.y); // stable
        stop.check()?;
        let (spots, chosen): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
        let mut ranks = vec![None; emitters.xyz.len()];
        (0..).zip(&chosen).for_each(|(rank, &(emitter, _))| ranks[emitter] = Some(rank));
        let (start, records) = records.sorted(&ranks, frames, stop)?;
        Ok(Placed { start, records, spots, chosen })
    }
}

/// The first record of each frame and the number of records; emitter and photons of each record.
type Sorted = (Vec<usize>, Vec<(u32, f32)>);

impl Records<'_> {
    fn check(&self, emitters: usize, frames: usize) -> Result<()> {
        let n = self.emitter.len();
        for (name, got) in [("frame_ix", self.frame.len()), ("photons", self.photons.len())] {
            if got != n {
                return Err(Error::Length { name, got, expected: n });
            }
        }
        for ((&e, &t), &p) in self.emitter.iter().zip(self.frame).zip(self.photons) {
            if e as usize >= emitters {
                return Err(Error::value("the emitter of a record", e, "the index of an emitter"));
            }
            if t as usize >= frames {
                return Err(Error::value("the frame of a record", t, "less than the number of frames"));
            }
            if !(p.is_finite() && p >= 0.0) {
                return Err(Error::value("the photons of a record", p, "a finite number, at least 0"));
            }
        }
        Ok(())
    }

    /// The first record of each frame and the number of records; and for each record the rank of its emitter and its photons, ordered
    /// by frame, then rank. Records of emitters without a rank are omitted.
    fn sorted(&self, ranks: &[Option<u32>], frames: usize, stop: &Stop) -> Result<Sorted> {
        let ranked = || {
            let records = self.emitter.iter().zip(self.frame).zip(self.photons);
            records.filter_map(|((&e, &t), &p)| ranks[e as usize].map(|rank| (t as usize, rank, p)))
        };
        let mut start = vec![0usize; frames + 1];
        ranked().for_each(|(t, ..)| start[t + 1] += 1);
        for t in 0..frames {
            start[t + 1] += start[t];
        }
        let mut next = start.clone();
        let mut sorted = vec![(0, 0.0); start[frames]];
        stop.check()?;
        for (t, rank, p) in ranked() {
            sorted[next[t]] = (rank, p);
            next[t] += 1;
        }
        for t in 0..frames {
            stop.check()?;
            sorted[start[t]..start[t + 1]].sort_by_key(|r| r.0); // stable
        }
        Ok((start, sorted))
    }
}
