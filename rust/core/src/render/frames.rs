//! Frames: emitters' stamps, added at their positions and times, and exposed by a camera in the same pass.

use rayon::prelude::*;

use super::scene::Scene;
use super::splat::Band;
use crate::camera::{Camera, Exposure, Pixel};
use crate::psf::Psf;
use crate::{Error, Result, Stop};

/// Bytes of a band of rows that is summed and exposed at once; they stay in a core's second-level cache.
const BAND_BYTES: usize = 256 << 10;

impl Psf {
    /// Overwrites `out`, frames `[t][y][x]` of `height` x `width` pixels, with expected photons. Emitters outside of the frames
    /// still contribute to the pixels that their stamps reach.
    ///
    /// Each emitter's stamp is computed once, regardless of its number of records. Frames are sums in the order of the emitters'
    /// rows, then of emitters, then of records. So a frame is bit-identical, for any number of threads and any other
    /// frames rendered with it.
    ///
    /// # Errors
    /// If lengths disagree, an index is out of range, or a number is not finite; [`Error::Stopped`].
    pub fn render(&self, scene: &Scene<'_>, [height, width]: [usize; 2], out: &mut [f32], stop: &Stop) -> Result<()> {
        let placed = self.placed(scene, [height, width], out.len(), stop)?;
        let mut cursors = placed.start.clone();
        self.block_by_block(&scene.emitters, &placed, height, stop, |block, stamps| {
            out.par_chunks_mut(height * width)
                .zip(&mut cursors)
                .enumerate()
                .try_for_each(|(t, (frame, cursor))| self.add(&placed, block, stamps, t, cursor, frame, width, stop))
        })
    }

    /// Renders frames and exposes them: bit-identical to [`Psf::render`] followed by [`Camera::expose`].
    ///
    /// `space` is scratch space of the same length as `out`; its contents before and after are undefined. If the emitters'
    /// stamps fit, it holds these, and photons are summed and exposed a few rows at a time; otherwise it holds the photons.
    ///
    /// `finished` is called with the index in `out` and the pixels of each frame as soon as it is complete, in any order, on the
    /// thread that finished it, and returns whether to continue.
    ///
    /// # Errors
    /// As for both, [`Error::Length`] if `space` is shorter than `out`, and [`Error::Stopped`] also if `finished` returned false.
    #[allow(clippy::too_many_arguments, reason = "what the two steps take, and where the result goes")]
    pub fn expose<T: Pixel>(
        &self,
        scene: &Scene<'_>,
        camera: &Camera,
        exposure: Exposure,
        space: &mut [f32],
        out: &mut [T],
        finished: impl Fn(usize, &[T]) -> bool + Sync,
        stop: &Stop,
    ) -> Result<()> {
        if space.len() < out.len() {
            return Err(Error::Length { name: "space", got: space.len(), expected: out.len() });
        }
        let [height, width] = [exposure.height, exposure.width];
        let first = exposure.first_pixel(out.len())?;
        let placed = self.placed(scene, [height, width], out.len(), stop)?;
        let area = height * width;
        let band = (BAND_BYTES / 4).div_ceil(width).min(height) * width;
        let exposing = camera.exposing(exposure, scene.background, out.len())?;
        // Pixels from index `before` of `out` on, a whole number of rows.
        let expose = |before: usize, image: &[f32], out: &mut [T]| {
            stop.check()?;
            let good = exposing.expose(first + before as u64, image, out);
            if good { Ok(()) } else { Err(exposure.bad_pixel(image, before)) }
        };
        let finish = |t: usize, frame: &[T]| if finished(t, frame) { Ok(()) } else { Err(Error::Stopped) };

        let needed = placed.chosen.len() * self.size() * self.size();
        if needed <= out.len() {
            let stamps = &mut space[..needed];
            self.stamps_of(&scene.emitters, &placed.chosen, stamps, stop)?;
            let stamps = &*stamps;
            return out.par_chunks_mut(area).enumerate().try_for_each(|(t, frame)| {
                frame.par_chunks_mut(band).enumerate().try_for_each_init(Vec::new, |image, (b, out)| {
                    image.clear();
                    image.resize(out.len(), 0.0);
                    let first_row = b * band / width;
                    let records = placed.reaching(t, first_row..first_row + out.len() / width, self.size() / 2);
                    let mut to = Band { pixels: image, width, first_row, size: self.size(), stamps, first_emitter: 0 };
                    to.add(records, &placed.spots, stop)?;
                    expose(t * area + b * band, image, out)
                })?;
                finish(t, frame)
            });
        }

        let mut cursors = placed.start.clone();
        self.block_by_block(&scene.emitters, &placed, height, stop, |block, stamps| {
            let images = space[..out.len()].par_chunks_mut(area);
            out.par_chunks_mut(area).zip(images).zip(&mut cursors).enumerate().try_for_each(
                |(t, ((frame, image), cursor))| {
                    self.add(&placed, block, stamps, t, cursor, image, width, stop)?;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Emitters, Optics, Records, Spec};
    use proptest::prelude::*;
    use std::sync::Mutex;

    proptest! {
        /// Exposed in one pass, with few emitters and with several blocks of stamps, frames equal those of the two steps.
        #[test]
        fn exposing_at_once_changes_no_bit(
            xyz in prop::collection::vec([-5.0..45.0, -5.0..25.0, -0.5..0.5], 1..120),
            records in prop::collection::vec((0usize..1000, 0u32..3, 0f32..3e3), 0..300),
            [height, width] in [1usize..40, 1usize..40],
            first_frame in 0u64..9,
        ) {
            let optics = Optics::new(660.0, 1.2, 1.33, [100.0, 110.0]).unwrap();
            let psf = Psf::new(Spec::new(optics, 7)).unwrap();
            let emitters = Emitters { xyz: &xyz, phase: &[], magnitude: None };
            let emitter: Vec<u32> = records.iter().map(|r| (r.0 % xyz.len()) as u32).collect();
            let frame: Vec<u32> = records.iter().map(|r| r.1).collect();
            let photons: Vec<f32> = records.iter().map(|r| r.2).collect();
            let records = Records { emitter: &emitter, frame: &frame, photons: &photons };
            let scene = Scene { emitters, records, origin: [-1.0, 2.5], background: None };
            let camera = Camera::new(3.0, 1.0, true).unwrap();
            let exposure = Exposure { seed: 5, first_frame, height, width };
            let mut image = vec![0.0; 3 * height * width];
            psf.render(&scene, [height, width], &mut image, &Stop::default()).unwrap();
            let mut counts = [vec![0u16; image.len()], vec![1u16; image.len()]];
            camera.expose(&image, exposure, &mut counts[0], &Stop::default()).unwrap();
            image.fill(f32::NAN);
            let seen = Mutex::new(vec![]);
            let see = |t, frame: &[u16]| {
                seen.lock().unwrap().push((t, frame.to_vec()));
                true
            };
            psf.expose(&scene, &camera, exposure, &mut image, &mut counts[1], see, &Stop::default()).unwrap();
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
        let psf = Psf::new(Spec::new(optics, 3)).unwrap();
        let emitters = Emitters { xyz: &[[4.0, 2.0, 0.0]], phase: &[], magnitude: None };
        let records = Records { emitter: &[0], frame: &[1], photons: &[2e15] };
        let scene = Scene { emitters, records, origin: [0.0; 2], background: None };
        let exposure = Exposure { seed: 5, first_frame: 0, height: 7, width: 9 };
        let camera = Camera::new(0.0, 0.0, false).unwrap();
        let (mut space, mut out) = ([0.0; 2 * 7 * 9], [0f32; 2 * 7 * 9]);
        let stop = Stop::default();
        let error = psf.expose(&scene, &camera, exposure, &mut space, &mut out, |_, _| true, &stop).unwrap_err();
        assert!(error.to_string().contains("at frame 1, row 2, column 4"), "{error}");
        let error = psf.expose(&scene, &camera, exposure, &mut space[1..], &mut out, |_, _| true, &stop).unwrap_err();
        assert!(matches!(error, Error::Length { name: "space", .. }), "{error}");
        let dark = Scene { records: Records { emitter: &[], frame: &[], photons: &[] }, ..scene };
        let error = psf.expose(&dark, &camera, exposure, &mut space, &mut out, |t, _| t == 0, &stop).unwrap_err();
        assert_eq!(error, Error::Stopped);
    }

    #[test]
    fn what_is_asked_to_stop_does() {
        let optics = Optics::new(660.0, 1.2, 1.33, [100.0; 2]).unwrap();
        let psf = Psf::new(Spec::new(optics, 3)).unwrap();
        let emitters = Emitters { xyz: &[[4.0, 2.0, 0.0]], phase: &[], magnitude: None };
        let records = Records { emitter: &[0], frame: &[0], photons: &[9.0] };
        let scene = Scene { emitters, records, origin: [0.0; 2], background: None };
        let camera = Camera::new(1.0, 1.0, true).unwrap();
        let exposure = Exposure { seed: 5, first_frame: 0, height: 7, width: 9 };
        let (mut space, mut out, mut stamp) = ([0.0; 7 * 9], [0u16; 7 * 9], [0.0; 9]);
        let mut calls = |stop: &Stop| {
            [
                psf.stamps(&emitters, &mut stamp, stop),
                psf.render(&scene, [7, 9], &mut space, stop),
                camera.expose(&space, exposure, &mut out, stop),
                psf.expose(&scene, &camera, exposure, &mut space, &mut out, |_, _| true, stop),
            ]
        };
        let stop = Stop::default();
        assert_eq!(calls(&stop), [const { Ok(()) }; 4]);
        stop.ask();
        assert_eq!(calls(&stop), [const { Err(Error::Stopped) }; 4]);
    }
}
