//! The microscope, and how far an emitter is out of focus.

use crate::{Error, Result};

/// A microscope's optics and camera pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optics {
    wavelength_nm: f64,
    na: f64,
    n_immersion: f64,
    pixel_nm: [f64; 2],
}

impl Optics {
    /// Emission wavelength in nm, numerical aperture, refractive index of the immersion medium, and pixel size in
    /// the sample along x and y in nm.
    ///
    /// # Errors
    /// If a length is not a number from 0.001 to 1e9 nm, aperture or index not one from 1e-6 to 100, or the aperture
    /// is larger than the index.
    pub fn new(wavelength_nm: f64, na: f64, n_immersion: f64, pixel_nm: [f64; 2]) -> Result<Self> {
        let [px, py] = pixel_nm;
        for (name, value) in [("wavelength_nm", wavelength_nm), ("pixel_size_nm_x", px), ("pixel_size_nm_y", py)] {
            if !(1e-3..=1e9).contains(&value) {
                return Err(Error::value(name, value, "a number from 0.001 to 1e9"));
            }
        }
        for (name, value) in [("NA", na), ("n_immersion", n_immersion)] {
            if !(1e-6..=100.0).contains(&value) {
                return Err(Error::value(name, value, "a number from 1e-6 to 100"));
            }
        }
        if na > n_immersion {
            return Err(Error::value("NA", na, "at most n_immersion"));
        }
        Ok(Self { wavelength_nm, na, n_immersion, pixel_nm })
    }

    /// Cut-off of the intensity, 2 NA / wavelength, in cycles per pixel along x and y.
    #[must_use]
    pub fn cutoff_per_pixel(&self) -> [f64; 2] {
        self.pixel_nm.map(|p| 2.0 * self.na * p / self.wavelength_nm)
    }

    /// Phase in half-turns that a shift by one pixel adds at the rim of the pupil, along x and y.
    #[must_use]
    pub fn rim_half_turns_per_pixel(&self) -> [f64; 2] {
        self.cutoff_per_pixel()
    }

    /// Area of a pixel over (wavelength / NA)^2.
    #[must_use]
    pub fn pixel_area(&self) -> f64 {
        let unit = self.wavelength_nm / self.na;
        self.pixel_nm[0] * self.pixel_nm[1] / (unit * unit)
    }

    /// Defocus in half-turns per micrometre of z, at squared pupil radius `rho2`, and its derivative by `rho2`.
    #[must_use]
    pub fn defocus(&self, model: Defocus, rho2: f64) -> (f64, f64) {
        let per_um = 2000.0 / self.wavelength_nm;
        let na2 = self.na * self.na;
        match model {
            Defocus::Exact => {
                let axial = (self.n_immersion.powi(2) - na2 * rho2).max(0.0).sqrt();
                // n - sqrt(n^2 - a) without cancellation; at NA = n the slope is infinite at the rim, and capped
                // here only for the estimate of the number of nodes.
                let value = na2 * rho2 / (self.n_immersion + axial);
                (per_um * value, per_um * na2 / (2.0 * axial.max(0.02 * self.n_immersion)))
            }
            Defocus::Paraxial => (per_um * na2 * rho2 / 2.0, per_um * na2 / 2.0),
        }
    }
}

/// The physics of the light in the pupil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Model {
    /// One scalar field.
    #[default]
    Scalar,
}

/// The phase of defocus over the pupil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Defocus {
    /// `2 pi / lambda (n - sqrt(n^2 - NA^2 rho^2)) z`.
    #[default]
    Exact,
    /// `pi NA^2 rho^2 z / lambda`.
    Paraxial,
}
