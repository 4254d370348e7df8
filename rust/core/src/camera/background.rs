//! Background that varies over pixels and frames.

use crate::noise::BLOCK;
use crate::{Error, Result};

use super::settings::MAX_PHOTONS;

/// Expected background photons in addition to those of the camera: `image[p] factor[t]` for pixel p in frame t.
#[derive(Debug, Clone, Copy)]
pub struct Background<'a> {
    /// One value per pixel of a frame, `[y][x]`; or per pixel of all exposed frames, `[t][y][x]`.
    pub image: &'a [f32],
    /// One factor per exposed frame; empty if all are 1.
    pub factor: &'a [f64],
}

impl Background<'_> {
    /// # Errors
    /// [`Error::Length`] if the numbers of pixels or frames do not match; [`Error::Value`] if a value is out of range.
    pub(crate) fn check(&self, pixels: usize, frames: usize) -> Result<()> {
        if self.image.len() != pixels && self.image.len() != pixels * frames {
            return Err(Error::Length { name: "background", got: self.image.len(), expected: pixels });
        }
        if !self.factor.is_empty() && self.factor.len() != frames {
            return Err(Error::Length { name: "background_factor", got: self.factor.len(), expected: frames });
        }
        let largest = self.image.iter().try_fold(0f32, |most, &b| (b >= 0.0).then(|| most.max(b)));
        let factor = self.factor.iter().try_fold(0f64, |most, &f| (f >= 0.0).then(|| most.max(f)));
        let factor = if self.factor.is_empty() { Some(1.0) } else { factor };
        match (largest, factor) {
            (Some(largest), Some(factor)) if f64::from(largest) * factor <= MAX_PHOTONS => Ok(()),
            (Some(largest), Some(factor)) => {
                Err(Error::value("background", f64::from(largest) * factor, "photons from 0 to 1e9"))
            }
            _ => Err(Error::value("background", "a number below 0, or none", "photons from 0 to 1e9")),
        }
    }

    /// Factor of frame t.
    pub(crate) fn of_frame(&self, t: usize) -> f32 {
        self.factor.get(t).map_or(1.0, |&factor| factor as f32)
    }

    /// Value of a pixel in frame t, without the factor.
    pub(crate) fn of_pixel(&self, t: usize, pixel: usize, area: usize) -> f32 {
        self.image[(t * area + pixel) % self.image.len()]
    }

    /// Adds the background to the pixels `index..index + BLOCK` of frames of `area` pixels, counted from the first exposed frame; some of
    /// these pixels may be before the first or after the last frame.
    #[inline(always)]
    pub(super) fn add(&self, index: i64, area: i64, photons: &mut [f32; BLOCK]) {
        let length = self.image.len() as i64;
        let (t, pixel) = (index.div_euclid(area), index.rem_euclid(area));
        let image = self.image[index.rem_euclid(length) as usize..].first_chunk::<BLOCK>();
        if let Some(image) = image.filter(|_| t >= 0 && pixel + BLOCK as i64 <= area) {
            let factor = self.of_frame(t as usize);
            for (p, b) in photons.iter_mut().zip(image) {
                *p += b * factor;
            }
        } else {
            for (l, p) in (0..).zip(photons) {
                let (t, place) = ((index + l).div_euclid(area).max(0), (index + l).rem_euclid(length));
                *p += self.image[place as usize] * self.of_frame(t as usize);
            }
        }
    }
}
