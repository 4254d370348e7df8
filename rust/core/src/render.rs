//! Frames of expected photons: emitters' stamps, added where and when they shine.

use rayon::prelude::*;

use crate::camera::{Camera, Count, Exposure};
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

/// Bytes of a band of rows that is summed up and exposed at once; they stay in a core's second-level cache.
const BAND_BYTES: usize = 256 << 10;

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
        let mut scene = self.scene(emitters, records, [height, width], out.len())?;
        self.sum(emitters, &mut scene, [height, width], out)
    }

    /// Overwrites `out` with the sums of a scene's stamps, block by block of emitters.
    fn sum(
        &self,
        emitters: &Emitters<'_>,
        scene: &mut Scene,
        [height, width]: [usize; 2],
        out: &mut [f32],
    ) -> Result<()> {
        let area = height * width;
        out.par_chunks_mut(area).for_each(|frame| frame.fill(0.0));

        // Enough tasks for all threads even where a chunk has few frames.
        let frames = out.len() / area;
        let bands = (4 * rayon::current_num_threads()).div_ceil(frames.max(1)).clamp(1, height.div_ceil(16));
        let rows = height.div_ceil(bands);
        let stamp = self.size() * self.size();
        let block = (STAMP_BYTES / (4 * stamp)).max(64);
        let mut stamps = vec![0.0; block.min(scene.chosen.len()) * stamp];
        let mut cursor: Vec<usize> = scene.start[..frames].to_vec();
        for chosen in std::mem::take(&mut scene.chosen).chunks(block) {
            let stamps = &mut stamps[..chosen.len() * stamp];
            self.stamps_of(emitters, chosen, stamps)?;
            scene.hand_out(chosen);
            let last = chosen.last().map_or(0, |c| c.0);
            let (stamps, scene) = (&*stamps, &*scene);
            out.par_chunks_mut(area).zip(&mut cursor).enumerate().for_each(|(t, (frame, cursor))| {
                let waiting = &scene.records[*cursor..scene.start[t + 1]];
                let now = &waiting[..waiting.partition_point(|r| r.0 as usize <= last)];
                *cursor += now.len();
                if now.is_empty() {
                    return;
                }
                frame.par_chunks_mut(rows * width).enumerate().for_each(|(b, pixels)| {
                    Band { pixels, width, first_row: b * rows, size: self.size(), stamps }.add(now, &scene.spots);
                });
            });
        }
        Ok(())
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
        let space = &mut space[..out.len()];
        let [height, width] = [exposure.height, exposure.width];
        let first = exposure.first_pixel(out.len())?;
        let mut scene = self.scene(emitters, records, [height, width], out.len())?;
        let stamp = self.size() * self.size();
        let stamps_fit = scene.chosen.len() * stamp <= out.len();
        if stamps_fit {
            let chosen = std::mem::take(&mut scene.chosen);
            self.stamps_of(emitters, &chosen, &mut space[..chosen.len() * stamp])?;
            scene.hand_out(&chosen);
        } else {
            self.sum(emitters, &mut scene, [height, width], space)?;
        }

        let area = height * width;
        let rows = (BAND_BYTES / 4).div_ceil(width).min(height);
        let exposing = camera.exposing(exposure.seed);
        let (scene, space) = (&scene, &*space);
        out.par_chunks_mut(area).enumerate().try_for_each(|(t, frame)| {
            frame.par_chunks_mut(rows * width).enumerate().try_for_each_init(Vec::new, |sums, (b, out)| {
                let first_row = b * rows;
                let before = t * area + first_row * width;
                let image = if stamps_fit {
                    sums.clear();
                    sums.resize(out.len(), 0.0);
                    let records = &scene.records[scene.start[t]..scene.start[t + 1]];
                    Band { pixels: sums, width, first_row, size: self.size(), stamps: space }
                        .add(records, &scene.spots);
                    sums
                } else {
                    &space[before..before + out.len()]
                };
                let good = exposing.expose(first + before as u64, image, out);
                if good { Ok(()) } else { Err(exposure.bad_pixel(image, before)) }
            })?;
            if finished(t, frame) { Ok(()) } else { Err(Error::Stopped) }
        })
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
        let mut scene = Scene::sort(records, emitters.xyz.len(), len / area)?;
        let reach = (self.size() / 2) as f64;
        let visible = |x: f64, n: usize| x >= -0.5 - reach && x < n as f64 - 0.5 + reach;
        let mut lit = vec![false; emitters.xyz.len()];
        records.emitter.iter().for_each(|&e| lit[e as usize] = true);
        scene.spots = vec![None; emitters.xyz.len()];
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
                scene.spots[i] = Some(Spot { x: cx as i64, y: cy as i64, stamp: 0 });
                scene.chosen.push((i, [x - cx, y - cy, z]));
            }
        }
        Ok(scene)
    }
}

/// What is to be rendered: records sorted by frame and emitter, records of the same emitter in the order given, and
/// the emitters that light any pixel.
struct Scene {
    /// The first record of each frame, and the number of records.
    start: Vec<usize>,
    /// Emitter and photons.
    records: Vec<(u32, f32)>,
    /// Where each emitter's stamp goes; `None` where it lights no pixel.
    spots: Vec<Option<Spot>>,
    /// The others: index, and position from the stamp's middle pixel.
    chosen: Vec<(usize, [f64; 3])>,
}

impl Scene {
    /// Tells the spots of some emitters that their stamps are the ones at hand, in order.
    fn hand_out(&mut self, chosen: &[(usize, [f64; 3])]) {
        for (stamp, &(emitter, _)) in chosen.iter().enumerate() {
            if let Some(spot) = &mut self.spots[emitter] {
                spot.stamp = stamp;
            }
        }
    }

    /// Sorts records; emitters are not placed yet.
    fn sort(records: &Records<'_>, emitters: usize, frames: usize) -> Result<Self> {
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
        Ok(Self { start, records: sorted, spots: Vec::new(), chosen: Vec::new() })
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
