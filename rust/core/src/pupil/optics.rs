//! The microscope, and the defocus of an emitter.

use crate::{Error, Result};

/// A microscope's optics and camera pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optics {
    wavelength_nm: f64,
    na: f64,
    n_immersion: f64,
    n_sample: f64,
    n_coverslip: f64,
    focal_depth_um: f64,
    pixel_nm: [f64; 2],
}

impl Optics {
    /// Emission wavelength in nm, numerical aperture, refractive index of the immersion medium, and pixel size in
    /// the sample along x and y in nm.
    ///
    /// # Errors
    /// If a length is not a number from 0.001 to 1e9 nm, aperture or refractive index is not in 1e-6 to 100, or the aperture
    /// exceeds the refractive index.
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
        let (n_sample, n_coverslip) = (n_immersion, n_immersion);
        Ok(Self { wavelength_nm, na, n_immersion, n_sample, n_coverslip, focal_depth_um: 0.0, pixel_nm })
    }

    /// The same with the refractive indices of sample and coverslip, and the nominal focal depth in the sample in um;
    /// the defaults are those of the immersion, and 0. Only [`Model::Vectorial`] uses them.
    ///
    /// # Errors
    /// If a refractive index is not in 1e-6 to 100, the aperture exceeds that of the coverslip, or the depth is not in
    /// -1e6 to 1e6.
    pub fn with_sample(self, n_sample: f64, n_coverslip: f64, focal_depth_um: f64) -> Result<Self> {
        for (name, value) in [("n_sample", n_sample), ("n_coverslip", n_coverslip)] {
            if !(1e-6..=100.0).contains(&value) {
                return Err(Error::value(name, value, "a number from 1e-6 to 100"));
            }
        }
        if self.na > n_coverslip {
            return Err(Error::value("NA", self.na, "at most n_coverslip"));
        }
        if !(-1e6..=1e6).contains(&focal_depth_um) {
            return Err(Error::value("focal_depth_um", focal_depth_um, "a number from -1e6 to 1e6"));
        }
        Ok(Self { n_sample, n_coverslip, focal_depth_um, ..self })
    }

    /// Numerical aperture.
    #[must_use]
    pub fn na(&self) -> f64 {
        self.na
    }

    /// Pixel size along x and y in nm.
    #[must_use]
    pub fn pixel_nm(&self) -> [f64; 2] {
        self.pixel_nm
    }

    /// Refractive indices of sample, coverslip and immersion.
    #[must_use]
    pub fn indices(&self) -> [f64; 3] {
        [self.n_sample, self.n_coverslip, self.n_immersion]
    }

    /// Nominal focal depth in the sample, in um.
    #[must_use]
    pub fn focal_depth_um(&self) -> f64 {
        self.focal_depth_um
    }

    /// Whether there is a refractive-index mismatch, so that z is the height above the coverslip.
    #[must_use]
    pub fn has_mismatch(&self) -> bool {
        self.n_sample.to_bits() != self.n_immersion.to_bits()
    }

    /// Radius in the pupil beyond which light from the sample is evanescent, if there is any.
    #[must_use]
    pub fn critical_radius(&self) -> Option<f64> {
        let radius = self.n_sample / self.na;
        (radius < 1.0).then_some(radius)
    }

    /// Cut-off of the intensity, 2 NA / wavelength, in cycles per pixel along x and y.
    #[must_use]
    pub fn cutoff_per_pixel(&self) -> [f64; 2] {
        self.pixel_nm.map(|p| 2.0 * self.na * p / self.wavelength_nm)
    }

    /// Phase in half-turns that a shift by one pixel adds at the edge of the pupil, along x and y.
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

    /// Defocus in half-turns per micrometre of z, at squared pupil radius `rho2`, and its derivative with respect to `rho2`.
    #[must_use]
    pub fn defocus(&self, model: Defocus, rho2: f64) -> (f64, f64) {
        match model {
            Defocus::Exact => self.path_in(self.n_immersion, rho2, 0.02),
            Defocus::Paraxial => {
                let (per_um, na2) = (2000.0 / self.wavelength_nm, self.na * self.na);
                (per_um * na2 * rho2 / 2.0, per_um * na2 / 2.0)
            }
        }
    }

    /// The phase lag of light at squared pupil radius `rho2` relative to the axis, in half-turns per micrometre of a
    /// medium, and its derivative with respect to `rho2`, where the cosine of the angle to the axis is at least `least_cosine`.
    pub(super) fn path_in(&self, index: f64, rho2: f64, least_cosine: f64) -> (f64, f64) {
        let (per_um, na2) = (2000.0 / self.wavelength_nm, self.na * self.na);
        let axial = (index.powi(2) - na2 * rho2).max(0.0).sqrt();
        // n - sqrt(n^2 - a) without cancellation; the slope is infinite for grazing rays, and capped for the
        // estimate of the number of nodes.
        let value = (na2 * rho2).min(index * index) / (index + axial);
        (per_um * value, per_um * na2 / (2.0 * axial.max(least_cosine * index)))
    }

    /// Decay of evanescent light at squared pupil radius `rho2` with the height above the coverslip, per micrometre.
    pub(super) fn decay(&self, rho2: f64) -> f64 {
        let beyond = (self.na * self.na * rho2 - self.n_sample.powi(2)).max(0.0);
        2000.0 * std::f64::consts::PI / self.wavelength_nm * beyond.sqrt()
    }
}

/// The model of the light in the pupil.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Model {
    /// One scalar field.
    #[default]
    Scalar,
    /// The field of a freely rotating dipole, through sample, coverslip and immersion.
    Vectorial,
    /// A Gaussian, without a pupil.
    Gaussian(Gaussian),
}

/// A Gaussian with a z-dependent width:
/// `sigma_x(z) = sigma_x sqrt(1 + ((z - a) / d)^2)`, `sigma_y(z) = sigma_y sqrt(1 + ((z + a) / d)^2)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaussian {
    /// Standard deviations along x and y in focus, in nm.
    pub sigma_nm: [f64; 2],
    /// Depth d, in nm; without it, the width does not depend on z.
    pub depth_nm: Option<f64>,
    /// a: half the distance between the foci along x and along y, in nm.
    pub astigmatism_nm: f64,
}

/// The defocus phase over the pupil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Defocus {
    /// `2 pi / lambda (n - sqrt(n^2 - NA^2 rho^2)) z`.
    #[default]
    Exact,
    /// `pi NA^2 rho^2 z / lambda`.
    Paraxial,
}
