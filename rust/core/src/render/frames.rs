//! Frames of expected photons: emitters' stamps, added where and when they shine.

use std::ops::Range;

use rayon::prelude::*;

use super::splat::{Band, Spot};
use super::stamps::{Emitters, Psf};
use crate::camera::{Camera, Count, Exposure};
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

/// Bytes of a band of rows that is summed up and exposed at once; they stay in a core's second-level cache.
const BAND_BYTES: usize = 256 << 10;

/// Fewest rows of a task.
const LEAST_ROWS: usize = 16;

impl Psf {
    /// Overwrites `out`, frames `[t][y][x]` of `height` x `width` pixels, with expected photons. x and y of an emitter are
    /// in the frame's pixels; emitters outside still light the pixels that their stamps reach.
    ///
    /// Each emitter's stamp is computed once, whatever its number of records. Frames are sums in the order of the rows in which
    /// emitters lie, then of emitters, then of records, so a frame's bits depend neither on the number of threads nor on the
    /// frames rendered with it.
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
        let scene = self.scene(emitters, records, [height, width], out.len())?;
        let mut cursors = scene.start.clone();
        self.block_by_block(emitters, &scene, height, |block, stamps| {
            out.par_chunks_mut(height * width).zip(&mut cursors).enumerate().for_each(|(t, (frame, cursor))| {
                self.add(&scene, block, stamps, t, cursor, frame, width);
            });
            Ok(())
        })
    }

    /// Renders frames and exposes them: what [`Psf::render`] and then [`Camera::expose`] give, to the last bit.
    ///
    /// `space` is work space of as many numbers as `out` has; what is in it before and after means nothing. Where the emitters'
    /// stamps fit, it holds these, and photons are summed and exposed a few rows at a time; else it holds the photons.
    ///
    /// `finished` is called with the index in `out` and the pixels of each frame as soon as it is whole, in any order, on the
    /// thread that finished it, and tells whether to go on.
    ///
    /// # Errors
    /// As the two have them, [`Error::Length`] if `space` is shorter than `out`, and [`Error::Stopped`] if `finished` said so.
    #[allow(clippy::too_many_arguments, reason = "what the two steps take, and where the result goes")]
    pub fn expose<T: Count>(
        &self,
        emitters: &Emitters<'_>,
        records: &Records<'_>,
        camera: &Camera,
        exposure: Exposure,
        space: &mut [f32],
        out: &mut [T],
        finished: impl Fn(usize, &[T]) -> bool + Sync,
    ) -> Result<()> {
        if space.len() < out.len() {
            return Err(Error::Length { name: "space", got: space.len(), expected: out.len() });
        }
        let [height, width] = [exposure.height, exposure.width];
        let first = exposure.first_pixel(out.len())?;
        let scene = self.scene(emitters, records, [height, width], out.len())?;
        let area = height * width;
        let band = (BAND_BYTES / 4).div_ceil(width).min(height) * width;
        let exposing = camera.exposing(exposure.seed);
        // Pixels from number `before` of `out` on, a whole number of rows.
        let expose = |before: usize, image: &[f32], out: &mut [T]| {
            let good = exposing.expose(first + before as u64, image, out);
            if good { Ok(()) } else { Err(exposure.bad_pixel(image, before)) }
        };
        let finish = |t: usize, frame: &[T]| if finished(t, frame) { Ok(()) } else { Err(Error::Stopped) };

        let needed = scene.chosen.len() * self.size() * self.size();
        if needed <= out.len() {
            let stamps = &mut space[..needed];
            self.stamps_of(emitters, &scene.chosen, stamps)?;
            let stamps = &*stamps;
            return out.par_chunks_mut(area).enumerate().try_for_each(|(t, frame)| {
                frame.par_chunks_mut(band).enumerate().try_for_each_init(Vec::new, |image, (b, out)| {
                    image.clear();
                    image.resize(out.len(), 0.0);
                    let first_row = b * band / width;
                    let records = scene.reaching(t, first_row..first_row + out.len() / width, self.size() / 2);
                    let to = Band { pixels: image, width, first_row, size: self.size(), stamps, first_emitter: 0 };
                    to.add(records, &scene.spots);
                    expose(t * area + b * band, image, out)
                })?;
                finish(t, frame)
            });
        }

        let mut cursors = scene.start.clone();
        self.block_by_block(emitters, &scene, height, |block, stamps| {
            let images = space[..out.len()].par_chunks_mut(area);
            out.par_chunks_mut(area).zip(images).zip(&mut cursors).enumerate().try_for_each(
                |(t, ((frame, image), cursor))| {
                    self.add(&scene, block, stamps, t, cursor, image, width);
                    let whole = block.from * width..block.whole * width;
                    let (image, out) = (&image[whole.clone()], &mut frame[whole.clone()]);
                    image
                        .par_chunks(band)
                        .zip(out.par_chunks_mut(band))
                        .enumerate()
                        .try_for_each(|(b, (image, out))| expose(t * area + whole.start + b * band, image, out))?;
                    if block.whole == height { finish(t, frame) } else { Ok(()) }
                },
            )
        })
    }

    /// Computes the stamps of a scene block by block, from the top row to the bottom, and calls `with` for each.
    fn block_by_block(
        &self,
        emitters: &Emitters<'_>,
        scene: &Scene,
        height: usize,
        mut with: impl FnMut(&Block, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let stamp = self.size() * self.size();
        let length = (STAMP_BYTES / (4 * stamp)).max(64);
        let count = scene.chosen.len();
        let mut stamps = vec![0.0; length.min(count) * stamp];
        let half = (self.size() / 2) as i64;
        let row = |y: i64| y.clamp(0, height as i64) as usize;
        let mut block = Block { emitters: 0..0, from: 0, fresh: 0, to: 0, whole: 0 };
        for start in (0..count.max(1)).step_by(length) {
            let end = (start + length).min(count);
            let stamps = &mut stamps[..(end - start) * stamp];
            self.stamps_of(emitters, &scene.chosen[start..end], stamps)?;
            let whole = if end < count { row(scene.spots[end].y - half) } else { height };
            let reached = if end > start { row(scene.spots[end - 1].y + half + 1) } else { height };
            block = Block { emitters: start..end, from: block.whole, fresh: block.to, to: reached.max(whole), whole };
            with(&block, stamps)?;
        }
        Ok(())
    }

    /// Adds a block of stamps to frame `t`. `cursor` is the first of its records that no block has added.
    #[allow(clippy::too_many_arguments, reason = "the inner part of two loops")]
    fn add(
        &self,
        scene: &Scene,
        block: &Block,
        stamps: &[f32],
        t: usize,
        cursor: &mut usize,
        frame: &mut [f32],
        width: usize,
    ) {
        let waiting = &scene.records[*cursor..scene.start[t + 1]];
        let now = &waiting[..waiting.partition_point(|r| (r.0 as usize) < block.emitters.end)];
        *cursor += now.len();
        // Enough tasks for all threads even where there are few frames.
        let frames = scene.start.len() - 1;
        let tasks = (4 * rayon::current_num_threads()).div_ceil(frames);
        let rows = (block.to - block.from).div_ceil(tasks).max(LEAST_ROWS);
        let pixels = &mut frame[block.from * width..block.to * width];
        pixels.par_chunks_mut(rows * width).enumerate().for_each(|(b, pixels)| {
            let first_row = block.from + b * rows;
            let used = (block.fresh.saturating_sub(first_row) * width).min(pixels.len());
            pixels[used..].fill(0.0);
            let first_emitter = block.emitters.start;
            Band { pixels, width, first_row, size: self.size(), stamps, first_emitter }.add(now, &scene.spots);
        });
    }

    /// Checks, sorts and places what is to be rendered to frames of `len` pixels altogether.
    fn scene(
        &self,
        emitters: &Emitters<'_>,
        records: &Records<'_>,
        [height, width]: [usize; 2],
        len: usize,
    ) -> Result<Scene> {
        self.check(emitters)?;
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
        let mut placed = vec![];
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
                placed.push((Spot { x: cx as i64, y: cy as i64 }, (i, [x - cx, y - cy, z])));
            }
        }
        placed.sort_by_key(|(spot, _)| spot.y); // stable
        let (spots, chosen): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
        let mut ranks = vec![None; emitters.xyz.len()];
        (0..).zip(&chosen).for_each(|(rank, &(emitter, _))| ranks[emitter] = Some(rank));
        let (start, records) = records.sorted(&ranks, frames);
        Ok(Scene { start, records, spots, chosen })
    }
}

/// Emitters whose stamps are at hand, and what becomes of the rows of every frame with them.
struct Block {
    emitters: Range<usize>,
    /// The first row that is not whole yet.
    from: usize,
    /// The first row that nothing has been added to; what is in it means nothing.
    fresh: usize,
    /// The end of the rows that this block adds to.
    to: usize,
    /// The end of the rows that are whole with it.
    whole: usize,
}

/// What is to be rendered: the emitters that light any pixel, ordered by row and then by index, and their records, ordered by
/// frame and then by emitter, those of the same emitter in the order given.
struct Scene {
    /// The first record of each frame, and the number of records.
    start: Vec<usize>,
    /// Emitter (in the order here) and photons.
    records: Vec<(u32, f32)>,
    /// Where each emitter's stamp goes.
    spots: Vec<Spot>,
    /// Index, and position from the stamp's middle pixel.
    chosen: Vec<(usize, [f64; 3])>,
}

impl Scene {
    /// The records of frame `t` whose stamps reach any of `rows`, and maybe some beyond.
    fn reaching(&self, t: usize, rows: Range<usize>, half: usize) -> &[(u32, f32)] {
        let records = &self.records[self.start[t]..self.start[t + 1]];
        let y = |record: &(u32, f32)| self.spots[record.0 as usize].y;
        let (low, high) = (rows.start as i64 - half as i64, (rows.end + half) as i64);
        &records[records.partition_point(|r| y(r) < low)..records.partition_point(|r| y(r) < high)]
    }
}

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

    /// The first record of each frame and the number of records; and the rank of the emitter and the photons of each, ordered
    /// by frame, then rank. Records of emitters without a rank are left out.
    fn sorted(&self, ranks: &[Option<u32>], frames: usize) -> (Vec<usize>, Vec<(u32, f32)>) {
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
        for (t, rank, p) in ranked() {
            sorted[next[t]] = (rank, p);
            next[t] += 1;
        }
        for t in 0..frames {
            sorted[start[t]..start[t + 1]].sort_by_key(|r| r.0); // stable
        }
        (start, sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Defocus, Optics, Sampling};
    use proptest::prelude::*;
    use std::sync::Mutex;

    proptest! {
        /// Exposed at once, with few emitters and with more than stamps are held of, frames are those of two steps.
        #[test]
        fn exposing_at_once_changes_no_bit(
            xyz in prop::collection::vec([-5.0..45.0, -5.0..25.0, -0.5..0.5], 1..120),
            records in prop::collection::vec((0usize..1000, 0u32..3, 0f32..3e3), 0..300),
            [height, width] in [1usize..40, 1usize..40],
            first_frame in 0u64..9,
        ) {
            let optics = Optics::new(660.0, 1.2, 1.33, [100.0, 110.0]).unwrap();
            let psf = Psf::new(optics, 7, 0, Defocus::Exact, Sampling::Integrated).unwrap();
            let emitters = Emitters { xyz: &xyz, phase: &[], magnitude: None };
            let emitter: Vec<u32> = records.iter().map(|r| (r.0 % xyz.len()) as u32).collect();
            let frame: Vec<u32> = records.iter().map(|r| r.1).collect();
            let photons: Vec<f32> = records.iter().map(|r| r.2).collect();
            let records = Records { emitter: &emitter, frame: &frame, photons: &photons };
            let camera = Camera::new(3.0, 1.0, true).unwrap();
            let exposure = Exposure { seed: 5, first_frame, height, width };
            let mut image = vec![0.0; 3 * height * width];
            psf.render(&emitters, &records, [height, width], &mut image).unwrap();
            let mut counts = [vec![0u16; image.len()], vec![1u16; image.len()]];
            camera.expose(&image, exposure, &mut counts[0]).unwrap();
            image.fill(f32::NAN);
            let seen = Mutex::new(vec![]);
            psf.expose(&emitters, &records, &camera, exposure, &mut image, &mut counts[1], |t, frame: &[u16]| {
                seen.lock().unwrap().push((t, frame.to_vec()));
                true
            })
            .unwrap();
            prop_assert!(counts[0] == counts[1]);
            let mut seen = seen.into_inner().unwrap();
            seen.sort();
            let frames = counts[0].chunks(height * width).map(<[u16]>::to_vec).enumerate().collect::<Vec<_>>();
            prop_assert!(seen == frames);
        }
    }

    #[test]
    fn too_much_light_is_refused_where_it_falls() {
        let optics = Optics::new(660.0, 1.2, 1.33, [1e4; 2]).unwrap();
        let psf = Psf::new(optics, 3, 0, Defocus::Exact, Sampling::Integrated).unwrap();
        let emitters = Emitters { xyz: &[[4.0, 2.0, 0.0]], phase: &[], magnitude: None };
        let records = Records { emitter: &[0], frame: &[1], photons: &[2e9] };
        let exposure = Exposure { seed: 5, first_frame: 0, height: 7, width: 9 };
        let camera = Camera::new(0.0, 0.0, false).unwrap();
        let (mut space, mut out) = ([0.0; 2 * 7 * 9], [0f32; 2 * 7 * 9]);
        let error = psf.expose(&emitters, &records, &camera, exposure, &mut space, &mut out, |_, _| true).unwrap_err();
        assert!(error.to_string().contains("at frame 1, row 2, column 4"), "{error}");
        let error =
            psf.expose(&emitters, &records, &camera, exposure, &mut space[1..], &mut out, |_, _| true).unwrap_err();
        assert!(matches!(error, Error::Length { name: "space", .. }), "{error}");
        let dark = Records { emitter: &[], frame: &[], photons: &[] };
        let error = psf.expose(&emitters, &dark, &camera, exposure, &mut space, &mut out, |t, _| t == 0).unwrap_err();
        assert_eq!(error, Error::Stopped);
    }
}
