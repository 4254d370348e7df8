//! The camera: from expected photons to electrons to counts.
//!
//! ```text
//! photons = image + background            background: uniform, or an image times a factor for each frame
//! mean    = QE photons + dark             electrons
//! n       = Poisson(mean)                 exact for every mean; without shot noise, the mean itself
//! n       = min(n, full well)
//! e       = gamma(n, gain)                EM register (Basden, Haniff & Mackay, MNRAS 345, 985, 2003); without shot noise, gain n
//! e       = min(e, full well of the register)
//! e       = e + normal(read noise)
//! adu     = e / e_per_adu + offset
//! count   = adu, rounded and clipped to 0..2^bits - 1 if the output is `u16`
//! ```
//!
//! QE, read noise, gain and offset may vary from pixel to pixel. Each stage has an independent random stream, so switching a stage does
//! not change the draws of another. There is one exception: for `u16` counts without register, full well and maps, with a whole
//! number of counts per electron, the electrons of the flat background and the read noise are drawn together from one table, since
//! whole numbers can be added after rounding. So `u16` and `f32` pixels of such a camera have different read noise.
//!
//! Everything is done in one pass over the image, in blocks of [`BLOCK`] pixels that stay in the first-level cache.
//!
//! The random words of a pixel depend only on the seed and on its linear index in the movie,
//! `((first_frame + t) * height + y) * width + x`, and blocks start at multiples of [`BLOCK`] of that index: an image
//! may be split into calls at any frame, and a call into threads anywhere; results are bit-identical.

mod background;
mod settings;
mod stages;

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

pub use background::Background;
pub use settings::{Maps, Register, Settings};

use crate::noise::{BACKGROUND_LIMIT, BLOCK, BackgroundTable};
use crate::simd::{Level, dispatch_at, level};
use crate::{Error, Result, Stop};
use stages::{Counted, Multiplied, Staged, Streams, Way, block};

/// The brightest signal of a pixel: above any signal of a config.
const MAX_SIGNAL: f32 = 1e15;

/// Maximum counts per electron for cameras that draw background and read noise from one table.
const MAX_SCALE: f64 = 256.0;

/// Pixels per task: large compared to the cost of scheduling it, small compared to an image.
const TURN: usize = 1 << 15;

/// A camera: its settings, and the tables for its random numbers.
#[derive(Debug, Clone)]
pub struct Camera {
    settings: Settings,
    /// Mean electrons of every pixel in addition to those of its own signal.
    flat_e: f64,
    /// Background photons that are added to the signal of each pixel, since its QE differs.
    own_background: f32,
    shot: Shot,
    /// Table for flat electrons and read noise together, for rounded counts.
    rounded: Option<Rounded>,
}

/// How the electrons of a pixel are drawn.
#[derive(Debug, Clone)]
enum Shot {
    /// The mean, without noise.
    Off,
    /// Only the draw of the pixel's own signal.
    NoBackground,
    /// The flat electrons from their table, and the draw of the pixel's own signal.
    Table(BackgroundTable),
    /// One draw by rejection, with the sum of both as its mean.
    Rejection,
}

/// Counts from one table: `scale` per electron of the pixel's own signal, plus a draw from the table.
#[derive(Debug, Clone)]
struct Rounded {
    table: BackgroundTable,
    scale: u32,
}

/// Random key and frame indices of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The key of all random streams. Any value is valid; different keys give independent noise.
    pub seed: u64,
    /// Index of the image's first frame in the movie.
    pub first_frame: u64,
    /// Rows of a frame.
    pub height: usize,
    /// Columns of a frame.
    pub width: usize,
}

impl Camera {
    /// A camera that adds `background` expected photons to every pixel, draws Poisson numbers of electrons if
    /// `shot_noise`, and adds Gaussian noise with standard deviation `read_noise_e` (electrons); one count per electron.
    ///
    /// # Errors
    /// [`Error::Value`] unless the background is from 0 to 1e9 and the read noise from 0 to 1e6.
    pub fn new(background: f64, read_noise_e: f64, shot_noise: bool) -> Result<Self> {
        Self::of(Settings::plain(background, read_noise_e, shot_noise))
    }

    /// A camera with any settings.
    ///
    /// # Errors
    /// [`Error::Value`] if a number is out of range; [`Error::Length`] if maps have different numbers of pixels.
    pub fn of(settings: Settings) -> Result<Self> {
        settings.check()?;
        let own = !settings.maps.quantum_efficiency.is_empty();
        let own_background = if own { settings.background as f32 } else { 0.0 };
        let flat_e = settings.dark_e + if own { 0.0 } else { settings.quantum_efficiency * settings.background };
        let shot = if !settings.shot_noise {
            Shot::Off
        } else if flat_e == 0.0 {
            Shot::NoBackground
        } else if flat_e > BACKGROUND_LIMIT {
            Shot::Rejection
        } else {
            BackgroundTable::new(flat_e).map_or(Shot::Rejection, Shot::Table)
        };
        let rounded = Rounded::new(&settings, flat_e);
        Ok(Self { settings, flat_e, own_background, shot, rounded })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Exposes frames: to counts as `u16`, rounded to the nearest whole number and clipped, or as `f32`, neither rounded nor clipped.
    ///
    /// `image` is (t, y, x), the expected signal photons of each pixel without background; `out` has the same shape.
    ///
    /// # Errors
    /// [`Error::Length`] if the image is not a whole number of frames, `out` has another length, or the camera's maps do not match the
    /// frames; [`Error::Value`] if a pixel is not a number from 0 to 1e15 (`out` is then partly filled), or the movie has more than
    /// 2^64 pixels; [`Error::Stopped`].
    pub fn expose<T: Pixel>(&self, image: &[f32], exposure: Exposure, out: &mut [T], stop: &Stop) -> Result<()> {
        self.expose_at(level(), image, exposure, out, stop)
    }

    fn expose_at<T: Pixel>(
        &self,
        level: Level,
        image: &[f32],
        exposure: Exposure,
        out: &mut [T],
        stop: &Stop,
    ) -> Result<()> {
        let first = exposure.first_pixel(image.len())?;
        if out.len() != image.len() {
            return Err(Error::Length { name: "out", got: out.len(), expected: image.len() });
        }
        let exposing = Exposing { level, ..self.exposing(exposure, None, image.len())? };
        let good = image
            .par_chunks(TURN)
            .zip(out.par_chunks_mut(TURN))
            .enumerate()
            .map(|(turn, (image, out))| {
                stop.check().map(|()| exposing.expose(first + (turn * TURN) as u64, image, out))
            })
            .try_reduce(|| true, |a, b| Ok(a && b))?;
        if good { Ok(()) } else { Err(exposure.bad_pixel(image, 0)) }
    }

    /// The camera with its random streams, for an image of `len` pixels and an optional background.
    ///
    /// # Errors
    /// If the background or the camera's maps do not match the frames of the image.
    pub(crate) fn exposing<'a>(
        &'a self,
        exposure: Exposure,
        background: Option<Background<'a>>,
        len: usize,
    ) -> Result<Exposing<'a>> {
        let area = exposure.height * exposure.width;
        let of_maps = self.settings.maps.pixels();
        if of_maps != 0 && of_maps != area && of_maps != len {
            return Err(Error::Length { name: "a map of the camera", got: of_maps, expected: area });
        }
        if let Some(background) = background {
            background.check(area, len.checked_div(area).unwrap_or(0))?;
        }
        let first_pixel = exposure.first_pixel(len)?;
        Ok(Exposing {
            camera: self,
            streams: Streams::new(exposure.seed),
            area,
            first_pixel,
            background,
            level: level(),
        })
    }
}

impl Rounded {
    /// The table, if counts can be drawn from one.
    fn new(settings: &Settings, flat_e: f64) -> Option<Self> {
        let scale = 1.0 / settings.e_per_adu;
        let together = settings.shot_noise
            && settings.read_noise_e > 0.0
            && settings.register.is_none()
            && settings.full_well_e.is_none()
            && settings.maps.pixels() == 0
            && (1.0..=MAX_SCALE).contains(&scale)
            && scale.fract() == 0.0;
        if !together {
            return None;
        }
        let scale = scale as u32;
        let table = BackgroundTable::with_noise(flat_e, settings.read_noise_e, scale, settings.offset_adu)?;
        Some(Self { table, scale })
    }
}

/// A camera during an exposure.
pub(crate) struct Exposing<'a> {
    camera: &'a Camera,
    streams: Streams,
    /// Pixels of a frame.
    area: usize,
    /// Linear index in the movie of the first exposed pixel.
    first_pixel: u64,
    background: Option<Background<'a>>,
    level: Level,
}

impl Exposing<'_> {
    /// Exposes consecutive pixels, the first with linear index `first` in the movie. Returns whether all were valid.
    pub fn expose<T: Pixel>(&self, first: u64, image: &[f32], out: &mut [T]) -> bool {
        match self.camera.rounded.as_ref().filter(|_| T::ROUNDED) {
            Some(Rounded { scale: 1, .. }) => self.by::<T, Counted>(first, image, out),
            Some(_) => self.by::<T, Multiplied>(first, image, out),
            None => self.by::<T, Staged>(first, image, out),
        }
    }

    fn by<T: Pixel, W: Way>(&self, first: u64, image: &[f32], out: &mut [T]) -> bool {
        dispatch_at(self.level, Turn { exposing: self, first, image, out, way: PhantomData::<W> })
    }
}

impl Exposure {
    /// Linear index in the movie of an image's first pixel.
    pub(crate) fn first_pixel(self, len: usize) -> Result<u64> {
        let too_large = || {
            Error::value(
                "first_frame",
                format!("{} of {} x {} pixels", self.first_frame, self.height, self.width),
                "a movie of less than 2^64 pixels",
            )
        };
        let frame = (self.height as u64).checked_mul(self.width as u64).ok_or_else(too_large)?;
        if frame == 0 && len == 0 {
            return Ok(0);
        }
        if frame == 0 || !(len as u64).is_multiple_of(frame) {
            let frames = (len as u64).checked_div(frame).unwrap_or(0);
            let expected = (frames * frame) as usize;
            return Err(Error::Length { name: "image", got: len, expected });
        }
        let first = frame.checked_mul(self.first_frame).ok_or_else(too_large)?;
        // Space for the pixels of the last, incomplete block.
        first.checked_add(len as u64 + BLOCK as u64).ok_or_else(too_large)?;
        Ok(first)
    }

    /// The error that names the first invalid pixel among those after the first `before` pixels.
    pub(crate) fn bad_pixel(self, image: &[f32], before: usize) -> Error {
        let at = image.iter().position(|&s| !is_valid(s)).unwrap_or(0);
        let value = image.get(at).unwrap_or(&f32::NAN);
        let at = before + at;
        let (row, x) = (at / self.width.max(1), at % self.width.max(1));
        let (t, y) = (row / self.height.max(1), row % self.height.max(1));
        Error::value("image", format!("{value} at frame {t}, row {y}, column {x}"), "photons from 0 to 1e15")
    }
}

#[inline(always)]
fn is_valid(signal: f32) -> bool {
    (0.0..=MAX_SIGNAL).contains(&signal)
}

/// The type of an output pixel: `u16` or `f32`.
pub trait Pixel: Copy + Default + Send + Sync {
    /// Whether counts are rounded to whole numbers, and clipped.
    const ROUNDED: bool;
    /// The pixel value for a number of counts, clipped at `most`.
    fn from_adu(adu: f32, most: f32) -> Self;
    /// The same for a whole number of counts.
    fn from_count(count: i32, most: i32) -> Self;
}

impl Pixel for f32 {
    const ROUNDED: bool = false;

    #[inline(always)]
    fn from_adu(adu: f32, _: f32) -> Self {
        adu
    }

    #[inline(always)]
    fn from_count(count: i32, _: i32) -> Self {
        count as Self
    }
}

impl Pixel for u16 {
    const ROUNDED: bool = true;

    #[inline(always)]
    fn from_count(count: i32, most: i32) -> Self {
        count.max(0).min(most) as Self
    }

    #[inline(always)]
    fn from_adu(adu: f32, most: f32) -> Self {
        // Adding 2^23 leaves the nearest whole number in the low bits, even on CPUs without a rounding instruction.
        let clipped = if adu > 0.0 { adu } else { 0.0 };
        let clipped = if clipped < most { clipped } else { most };
        (clipped + 8_388_608.0).to_bits() as u16
    }
}

/// A task: consecutive pixels, the first with linear index `first`. Returns whether all of them were valid.
struct Turn<'a, 'b, T, W> {
    exposing: &'a Exposing<'b>,
    first: u64,
    image: &'a [f32],
    out: &'a mut [T],
    way: PhantomData<W>,
}

impl<T: Pixel, W: Way> WithSimd for Turn<'_, '_, T, W> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let Self { exposing, first, mut image, mut out, .. } = self;
        let mut good = true;
        let mut whole_image = [0.0; BLOCK];
        let mut whole_out = [T::default(); BLOCK];
        // The task may begin and end inside a block of the movie.
        let mut offset = (first % BLOCK as u64) as usize;
        let mut index = first - offset as u64;
        while !image.is_empty() {
            let taken = image.len().min(BLOCK - offset);
            let (image_here, out_here);
            (image_here, image) = image.split_at(taken);
            (out_here, out) = out.split_at_mut(taken);
            let part = offset..offset + taken;
            let (from, to): (&[f32; BLOCK], &mut [T; BLOCK]) =
                if let (Ok(from), Ok(to)) = (image_here.try_into(), (&mut *out_here).try_into()) {
                    (from, to)
                } else {
                    whole_image[part.clone()].copy_from_slice(image_here);
                    (&whole_image, &mut whole_out)
                };
            good &= block::<S, T, W>(exposing, index, from, to);
            if taken < BLOCK {
                out_here.copy_from_slice(&whole_out[part]);
            }
            index += BLOCK as u64;
            offset = 0;
        }
        good
    }
}

#[cfg(test)]
mod distribution;
#[cfg(test)]
mod tests;
