//! The camera: expected photons to electrons to counts.
//!
//! A pixel is `Poisson(signal + background) + read noise`, rounded and clipped where the output is `u16`. Rounded, background
//! and read noise are one draw from one table, since whole numbers can be added after rounding; `u16` and `f32` pixels of
//! the same seed therefore have read noise of their own.
//! All of it is done in one pass over the image, in blocks of [`BLOCK`] pixels that stay in the first-level cache.
//!
//! A pixel's random words come from the seed and its linear index in the movie alone,
//! `((first_frame + t) * height + y) * width + x`, and blocks start at multiples of [`BLOCK`] of that index: an image
//! may be cut into calls at any frame, and a call into threads anywhere, without changing a bit.
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::noise::{
    BACKGROUND_LIMIT, BLOCK, Background, Purpose, Signal, Stream, TABLE_LIMIT, fill_normals, poisson_by_rejection,
};
use crate::simd::{Level, dispatch_at, level};
use crate::{Error, Result, Stop};

/// The largest background, and the largest signal of a pixel whose Poisson number is drawn exactly, photons.
const MAX_PHOTONS: f64 = 1e9;
/// The brightest signal in a pixel: more than any light of a config.
const MAX_SIGNAL: f32 = 1e15;

/// The largest read noise, electrons.
const MAX_READ_NOISE_E: f64 = 1e6;

/// Pixels of a thread's turn: large against the cost of handing it out, small against an image.
const TURN: usize = 1 << 15;

/// A camera with a flat background, Poisson shot noise and Gaussian read noise.
#[derive(Debug, Clone)]
pub struct Camera {
    background: f64,
    read_noise_e: f32,
    shot: Shot,
    /// Background and read noise together, for counts that are rounded.
    rounded: Option<Background>,
}

/// How the electrons of a pixel come about.
#[derive(Debug, Clone)]
enum Shot {
    /// The mean itself.
    Off,
    /// The signal's draw alone.
    NoBackground,
    /// The background from its table, and the signal's draw.
    Table(Background),
    /// One draw by rejection with the sum of both as its mean.
    Rejection,
}

/// Which random numbers and which frames of the movie an image is exposed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The key of all randomness. Any numbers will do; different keys give unrelated noise.
    pub seed: u64,
    /// The frame of the movie that the image starts with.
    pub first_frame: u64,
    /// Rows of a frame.
    pub height: usize,
    /// Columns of a frame.
    pub width: usize,
}

impl Camera {
    /// A camera that adds `background` expected photons to every pixel, draws the Poisson number of electrons if
    /// `shot_noise`, and adds Gaussian noise with the standard deviation `read_noise_e` (electrons).
    ///
    /// # Errors
    /// [`Error::Value`] unless the background is a number from 0 to 1e9 and the read noise one from 0 to 1e6.
    pub fn new(background: f64, read_noise_e: f64, shot_noise: bool) -> Result<Self> {
        if !(0.0..=MAX_PHOTONS).contains(&background) {
            return Err(Error::value("background", background, "a number from 0 to 1e9"));
        }
        if !(0.0..=MAX_READ_NOISE_E).contains(&read_noise_e) {
            return Err(Error::value("read_noise_e", read_noise_e, "a number from 0 to 1e6"));
        }
        let shot = if !shot_noise {
            Shot::Off
        } else if background == 0.0 {
            Shot::NoBackground
        } else if background > BACKGROUND_LIMIT {
            Shot::Rejection
        } else {
            Background::new(background).map_or(Shot::Rejection, Shot::Table)
        };
        let together = shot_noise && read_noise_e > 0.0;
        let rounded = if together { Background::with_noise(background, read_noise_e) } else { None };
        Ok(Self { background, read_noise_e: read_noise_e as f32, shot, rounded })
    }

    /// Exposes frames: to 16-bit counts, rounded to the nearest whole number and clipped to 0..=65535, or to electrons as
    /// `f32`, neither rounded nor clipped.
    ///
    /// `image` is (t, y, x), the expected signal photons of each pixel without background; `out` has the same shape.
    ///
    /// # Errors
    /// [`Error::Length`] if the image is not a whole number of frames or `out` differs in length; [`Error::Value`] if a
    /// pixel is not a number from 0 to 1e15 (`out` is then partly filled), or the movie has more than 2^64 pixels; [`Error::Stopped`].
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
        let exposing = Exposing { level, ..self.exposing(exposure.seed) };
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

    /// The camera with the random numbers of a seed.
    pub(crate) fn exposing(&self, seed: u64) -> Exposing<'_> {
        Exposing { camera: self, streams: Streams::new(seed), level: level() }
    }
}

/// A camera at work.
pub(crate) struct Exposing<'a> {
    camera: &'a Camera,
    streams: Streams,
    level: Level,
}

impl Exposing<'_> {
    /// Exposes consecutive pixels, the first with the linear index `first` in the movie. Tells whether all were valid.
    pub fn expose<T: Pixel>(&self, first: u64, image: &[f32], out: &mut [T]) -> bool {
        dispatch_at(self.level, Turn { camera: self.camera, streams: &self.streams, first, image, out })
    }
}

impl Exposure {
    /// The linear index in the movie of an image's first pixel.
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
        // Room for the pixels of the last, incomplete block.
        first.checked_add(len as u64 + BLOCK as u64).ok_or_else(too_large)?;
        Ok(first)
    }

    /// The error that names the first bad pixel of some that come after `before` others.
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
    /// Whether electrons are rounded to whole numbers.
    const ROUNDED: bool;
    /// The pixel's value for a number of electrons.
    fn from_electrons(electrons: f32) -> Self;
    /// The same for a whole number.
    fn from_count(count: i32) -> Self;
}

impl Pixel for f32 {
    const ROUNDED: bool = false;

    #[inline(always)]
    fn from_electrons(electrons: f32) -> Self {
        electrons
    }

    #[inline(always)]
    fn from_count(count: i32) -> Self {
        count as Self
    }
}

impl Pixel for u16 {
    const ROUNDED: bool = true;

    #[inline(always)]
    fn from_count(count: i32) -> Self {
        count.clamp(0, 65535) as Self
    }

    #[inline(always)]
    fn from_electrons(electrons: f32) -> Self {
        // Adding 2^23 leaves the nearest whole number in the low bits, also where a CPU has no instruction to round.
        let clipped = if electrons > 0.0 { electrons } else { 0.0 };
        let clipped = if clipped < 65535.0 { clipped } else { 65535.0 };
        (clipped + 8_388_608.0).to_bits() as u16
    }
}

/// The streams of an exposure.
#[derive(Clone, Copy)]
struct Streams {
    background: Stream,
    rounded: Stream,
    read_noise: Stream,
    rejection: Stream,
    signal: Signal,
}

impl Streams {
    fn new(seed: u64) -> Self {
        Self {
            background: Stream::new(seed, Purpose::Background),
            rounded: Stream::new(seed, Purpose::Rounded),
            read_noise: Stream::new(seed, Purpose::ReadNoise),
            rejection: Stream::new(seed, Purpose::Rejection),
            signal: Signal::new(seed),
        }
    }
}

/// A thread's turn: consecutive pixels, the first with the linear index `first`. Tells whether all of them were valid.
struct Turn<'a, T> {
    camera: &'a Camera,
    streams: &'a Streams,
    first: u64,
    image: &'a [f32],
    out: &'a mut [T],
}

impl<T: Pixel> WithSimd for Turn<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let Self { camera, streams, first, mut image, mut out } = self;
        let mut good = true;
        let mut whole_image = [0.0; BLOCK];
        let mut whole_out = [T::default(); BLOCK];
        // The turn may begin and end inside a block of the movie.
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
            good &= block::<S, T>(camera, streams, index, from, to);
            if taken < BLOCK {
                out_here.copy_from_slice(&whole_out[part]);
            }
            index += BLOCK as u64;
            offset = 0;
        }
        good
    }
}

/// The pixels `index..index + BLOCK` of the movie. Tells whether all of them were valid.
#[inline(always)]
fn block<S: Simd, T: Pixel>(
    camera: &Camera,
    streams: &Streams,
    index: u64,
    image: &[f32; BLOCK],
    out: &mut [T; BLOCK],
) -> bool {
    let mut invalid = 0u32;
    let mut any = 0u32;
    let mut large = 0u32;
    for s in image {
        invalid |= u32::from(!is_valid(*s));
        any |= u32::from(*s > 0.0);
        large |= u32::from(*s >= TABLE_LIMIT);
    }
    if invalid != 0 {
        return false;
    }
    let mut electrons = [0f32; BLOCK];
    let mut counts = [0; BLOCK];
    let rounded = if T::ROUNDED { camera.rounded.as_ref() } else { None };
    match (rounded, &camera.shot) {
        (Some(table), _) => table.draw(streams.rounded, index, &mut counts),
        (None, Shot::Table(table)) => table.draw(streams.background, index, &mut counts),
        _ => {}
    }
    match &camera.shot {
        Shot::Off => {
            for (e, s) in electrons.iter_mut().zip(image) {
                *e = (f64::from(*s) + camera.background) as f32;
            }
        }
        Shot::Rejection => {
            for (l, count) in counts.iter_mut().enumerate() {
                let mean = camera.background + f64::from(image[l]).min(MAX_PHOTONS);
                *count = poisson_by_rejection(mean, &mut streams.rejection.generator(index + l as u64));
            }
        }
        Shot::Table(_) | Shot::NoBackground if any != 0 => {
            streams.signal.add::<S>(index, image, &mut counts);
            if large != 0 {
                add_large(streams.rejection, index, image, &mut counts);
            }
        }
        Shot::Table(_) | Shot::NoBackground => {}
    }
    if rounded.is_some() {
        for (o, count) in out.iter_mut().zip(&counts) {
            *o = T::from_count(*count as i32);
        }
        return true;
    }
    if !matches!(camera.shot, Shot::Off) {
        for (e, count) in electrons.iter_mut().zip(&counts) {
            *e = *count as i32 as f32;
        }
        if large != 0 {
            stretch(camera.background, image, &counts, &mut electrons);
        }
    }
    if camera.read_noise_e > 0.0 {
        let mut normals = [0.0; BLOCK];
        fill_normals::<S>(streams.read_noise, index / BLOCK as u64, &mut normals);
        for (e, normal) in electrons.iter_mut().zip(&normals) {
            *e += camera.read_noise_e * normal;
        }
    }
    for (o, e) in out.iter_mut().zip(&electrons) {
        *o = T::from_electrons(*e);
    }
    true
}

/// Adds the draws of the pixels that are too bright for the tables.
#[cold]
fn add_large(rejection: Stream, index: u64, image: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
    for (l, (count, s)) in counts.iter_mut().zip(image).enumerate() {
        if *s >= TABLE_LIMIT {
            let more = poisson_by_rejection(f64::from(*s).min(MAX_PHOTONS), &mut rejection.generator(index + l as u64));
            *count = count.wrapping_add(more);
        }
    }
}

/// Turns draws at the brightest signal that is drawn exactly into those of brighter ones. The standardised Poisson law is
/// then normal to 3e-5, so the same deviation in standard deviations is a draw at any larger mean.
#[cold]
fn stretch(background: f64, image: &[f32; BLOCK], counts: &[u32; BLOCK], electrons: &mut [f32; BLOCK]) {
    for ((s, count), e) in image.iter().zip(counts).zip(electrons) {
        let signal = f64::from(*s);
        if signal > MAX_PHOTONS {
            let (drawn, mean) = (background + MAX_PHOTONS, background + signal);
            *e = (mean + (f64::from(*count as i32) - drawn) * (mean / drawn).sqrt()) as f32;
        }
    }
}

#[cfg(test)]
mod distribution;
#[cfg(test)]
mod tests;
