//! The stages of the camera, one block of pixels at a time.

use pulp::Simd;

use super::settings::MAX_PHOTONS;
use super::{Camera, Exposing, Pixel, Shot, is_valid};
use crate::noise::{BLOCK, Gamma, Purpose, Signal, Stream, TABLE_LIMIT, fill_normals, poisson_by_rejection};

/// A number of electrons that saturates any count, whatever the scale of a table.
const SATURATING: u32 = 1 << 22;

/// The random streams of an exposure.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    background: Stream,
    rounded: Stream,
    read_noise: Stream,
    rejection: Stream,
    signal: Signal,
    gamma: Gamma,
}

impl Streams {
    pub fn new(seed: u64) -> Self {
        Self {
            background: Stream::new(seed, Purpose::Background),
            rounded: Stream::new(seed, Purpose::Rounded),
            read_noise: Stream::new(seed, Purpose::ReadNoise),
            rejection: Stream::new(seed, Purpose::Rejection),
            signal: Signal::new(seed),
            gamma: Gamma::new(seed),
        }
    }
}

/// A path from signal to counts. Each is compiled separately, so that none is slowed down by stages that it does not need.
pub(super) trait Way {
    /// Exposes the pixels `index..index + BLOCK` of the movie, given the mean electrons of each pixel's own signal.
    fn expose<S: Simd, T: Pixel>(exposing: &Exposing<'_>, index: u64, mean: &[f32; BLOCK], out: &mut [T; BLOCK]);
}

/// Flat electrons and read noise from one table, and one count per electron.
pub(super) struct Counted;

/// The same with several counts per electron.
pub(super) struct Multiplied;

/// All stages in sequence.
pub(super) struct Staged;

impl Way for Counted {
    #[inline(always)]
    fn expose<S: Simd, T: Pixel>(exposing: &Exposing<'_>, index: u64, mean: &[f32; BLOCK], out: &mut [T; BLOCK]) {
        let Exposing { camera, streams, .. } = exposing;
        let Some(rounded) = &camera.rounded else { return };
        let mut counts = [0; BLOCK];
        rounded.table.draw(streams.rounded, index, &mut counts);
        add_own::<S>(streams, index, mean, &mut counts);
        for (o, count) in out.iter_mut().zip(&counts) {
            *o = T::from_count(*count as i32, camera.most());
        }
    }
}

impl Way for Multiplied {
    #[inline(always)]
    fn expose<S: Simd, T: Pixel>(exposing: &Exposing<'_>, index: u64, mean: &[f32; BLOCK], out: &mut [T; BLOCK]) {
        let Exposing { camera, streams, .. } = exposing;
        let Some(rounded) = &camera.rounded else { return };
        let (mut flat, mut counts) = ([0; BLOCK], [0; BLOCK]);
        rounded.table.draw(streams.rounded, index, &mut flat);
        add_own::<S>(streams, index, mean, &mut counts);
        for ((o, count), flat) in out.iter_mut().zip(&counts).zip(&flat) {
            let count = (*count).min(SATURATING).wrapping_mul(rounded.scale).wrapping_add(*flat);
            *o = T::from_count(count as i32, camera.most());
        }
    }
}

impl Way for Staged {
    #[inline(always)]
    fn expose<S: Simd, T: Pixel>(exposing: &Exposing<'_>, index: u64, mean: &[f32; BLOCK], out: &mut [T; BLOCK]) {
        let Exposing { camera, streams, .. } = exposing;
        let mut electrons = [0f32; BLOCK];
        draw_electrons::<S>(camera, streams, index, mean, &mut electrons);
        multiply::<S>(camera, streams, index, &mut electrons);
        read_out::<S>(exposing, index, &mut electrons);
        for (o, adu) in out.iter_mut().zip(&electrons) {
            *o = T::from_adu(*adu, camera.most() as f32);
        }
    }
}

/// Exposes the pixels `index..index + BLOCK` of the movie. Returns whether all of them were valid.
#[inline(always)]
pub(super) fn block<S: Simd, T: Pixel, W: Way>(
    exposing: &Exposing<'_>,
    index: u64,
    image: &[f32; BLOCK],
    out: &mut [T; BLOCK],
) -> bool {
    let mut invalid = 0u32;
    for s in image {
        invalid |= u32::from(!is_valid(*s));
    }
    if invalid != 0 {
        return false;
    }
    if exposing.camera.sees_the_image_alone() && exposing.background.is_none() {
        W::expose::<S, T>(exposing, index, image, out);
    } else {
        let mut mean = *image;
        own_electrons(exposing, index, &mut mean);
        W::expose::<S, T>(exposing, index, &mean, out);
    }
    true
}

impl Exposing<'_> {
    /// Index of a pixel, counted from the first exposed pixel; the first block may begin before it.
    fn place(&self, index: u64) -> i64 {
        index.wrapping_sub(self.first_pixel) as i64
    }
}

impl Camera {
    /// The largest count.
    fn most(&self) -> i32 {
        (1 << self.settings.bit_depth) - 1
    }

    /// Whether each photon of the image gives one electron, without additional electrons per pixel.
    fn sees_the_image_alone(&self) -> bool {
        self.settings.quantum_efficiency >= 1.0 && self.settings.maps.quantum_efficiency.is_empty()
    }
}

/// The values of the pixels `at..at + BLOCK`, counted from the first exposed pixel: from a map, or a uniform value.
#[inline(always)]
fn of_pixels(map: &[f32], number: f64, at: i64) -> [f32; BLOCK] {
    if map.is_empty() {
        return [number as f32; BLOCK];
    }
    let place = at.rem_euclid(map.len() as i64) as usize;
    if let Some(part) = map[place..].first_chunk() {
        *part
    } else {
        std::array::from_fn(|l| map[(place + l) % map.len()])
    }
}

/// Converts photons to expected electrons of each pixel's own signal, including background that varies from pixel to pixel.
#[inline(always)]
fn own_electrons(exposing: &Exposing<'_>, index: u64, electrons: &mut [f32; BLOCK]) {
    let camera = exposing.camera;
    let settings = &camera.settings;
    let at = exposing.place(index);
    if camera.own_background > 0.0 {
        for e in electrons.iter_mut() {
            *e += camera.own_background;
        }
    }
    if let Some(background) = &exposing.background {
        background.add(at, exposing.area as i64, electrons);
    }
    let efficiency = of_pixels(&settings.maps.quantum_efficiency, settings.quantum_efficiency, at);
    for (e, efficiency) in electrons.iter_mut().zip(&efficiency) {
        *e *= efficiency;
    }
}

/// Adds Poisson variates for each pixel's own signal.
#[inline(always)]
fn add_own<S: Simd>(streams: &Streams, index: u64, mean: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
    let mut any = 0u32;
    let mut large = 0u32;
    for m in mean {
        any |= u32::from(*m > 0.0);
        large |= u32::from(*m >= TABLE_LIMIT);
    }
    if any != 0 {
        streams.signal.add::<S>(index, mean, counts);
        if large != 0 {
            add_large(streams.rejection, index, mean, counts);
        }
    }
}

/// Converts photons to electrons, limited by the full-well capacity.
#[inline(always)]
fn draw_electrons<S: Simd>(
    camera: &Camera,
    streams: &Streams,
    index: u64,
    mean: &[f32; BLOCK],
    electrons: &mut [f32; BLOCK],
) {
    let mut counts = [0; BLOCK];
    match &camera.shot {
        Shot::Off => {
            for (e, m) in electrons.iter_mut().zip(mean) {
                *e = (f64::from(*m) + camera.flat_e) as f32;
            }
        }
        Shot::Rejection => {
            for (l, count) in counts.iter_mut().enumerate() {
                let mean = camera.flat_e + f64::from(mean[l]).min(MAX_PHOTONS);
                *count = poisson_by_rejection(mean, &mut streams.rejection.generator(index + l as u64));
            }
        }
        Shot::Table(table) => {
            table.draw(streams.background, index, &mut counts);
            add_own::<S>(streams, index, mean, &mut counts);
        }
        Shot::NoBackground => add_own::<S>(streams, index, mean, &mut counts),
    }
    if !matches!(camera.shot, Shot::Off) {
        let mut huge = 0u32;
        for ((e, count), m) in electrons.iter_mut().zip(&counts).zip(mean) {
            *e = *count as i32 as f32;
            huge |= u32::from(*m > MAX_PHOTONS as f32);
        }
        if huge != 0 {
            stretch(camera.flat_e, mean, &counts, electrons);
        }
    }
    if let Some(full) = camera.settings.full_well_e {
        clip(full, electrons);
    }
}

/// Multiplies electrons in the register.
#[inline(always)]
fn multiply<S: Simd>(camera: &Camera, streams: &Streams, index: u64, electrons: &mut [f32; BLOCK]) {
    let Some(register) = camera.settings.register else { return };
    if camera.settings.shot_noise {
        streams.gamma.replace::<S>(index, electrons);
    }
    let gain = register.gain as f32;
    for e in electrons.iter_mut() {
        *e *= gain;
    }
    if let Some(full) = register.full_well_e {
        clip(full, electrons);
    }
}

#[inline(always)]
fn clip(full: f64, electrons: &mut [f32; BLOCK]) {
    let full = full as f32;
    for e in electrons {
        *e = if *e < full { *e } else { full };
    }
}

/// Converts electrons to counts, before rounding.
#[inline(always)]
fn read_out<S: Simd>(exposing: &Exposing<'_>, index: u64, electrons: &mut [f32; BLOCK]) {
    let Exposing { camera, streams, .. } = exposing;
    let settings = &camera.settings;
    let at = exposing.place(index);
    let maps = &settings.maps;
    if settings.read_noise_e > 0.0 || !maps.read_noise_e.is_empty() {
        let mut normals = [0.0; BLOCK];
        fill_normals::<S>(streams.read_noise, index / BLOCK as u64, &mut normals);
        let sigma = of_pixels(&maps.read_noise_e, settings.read_noise_e, at);
        for ((e, normal), sigma) in electrons.iter_mut().zip(&normals).zip(&sigma) {
            *e += sigma * normal;
        }
    }
    let gain = of_pixels(&maps.adu_per_e, 1.0 / settings.e_per_adu, at);
    let offset = of_pixels(&maps.offset_adu, settings.offset_adu, at);
    for ((e, gain), offset) in electrons.iter_mut().zip(&gain).zip(&offset) {
        *e = *e * gain + offset;
    }
}

/// Adds the draws for pixels that are too bright for the tables.
#[cold]
fn add_large(rejection: Stream, index: u64, image: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
    for (l, (count, s)) in counts.iter_mut().zip(image).enumerate() {
        if *s >= TABLE_LIMIT {
            let more = poisson_by_rejection(f64::from(*s).min(MAX_PHOTONS), &mut rejection.generator(index + l as u64));
            *count = count.wrapping_add(more);
        }
    }
}

/// Scales draws at the brightest signal that is drawn exactly to brighter signals. The standardised Poisson distribution is
/// then normal to within 3e-5, so the same deviation in standard deviations is a valid draw at any larger mean.
#[cold]
fn stretch(flat_e: f64, image: &[f32; BLOCK], counts: &[u32; BLOCK], electrons: &mut [f32; BLOCK]) {
    for ((s, count), e) in image.iter().zip(counts).zip(electrons) {
        let signal = f64::from(*s);
        if signal > MAX_PHOTONS {
            let (drawn, mean) = (flat_e + MAX_PHOTONS, flat_e + signal);
            *e = (mean + (f64::from(*count as i32) - drawn) * (mean / drawn).sqrt()) as f32;
        }
    }
}
