//! `simtiff_core::Optics`, `Model`, `Defocus` and `Sampling`, and the size of a stamp, as they are in Python.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{argument, refused, to_python};

/// The attributes of Python's `Optics`, or of anything that has them.
#[derive(FromPyObject)]
pub struct Optics {
    wavelength_nm: f64,
    #[pyo3(attribute("NA"))]
    na: f64,
    n_immersion: f64,
    pixel_size_nm_x: f64,
    pixel_size_nm_y: f64,
}

impl Optics {
    /// The core's, which has its numbers checked.
    pub fn checked(&self) -> PyResult<simtiff_core::Optics> {
        let pixel_nm = [self.pixel_size_nm_x, self.pixel_size_nm_y];
        simtiff_core::Optics::new(self.wavelength_nm, self.na, self.n_immersion, pixel_nm).map_err(to_python)
    }
}

/// Pixels along a side of a stamp.
pub struct Size(pub usize);

impl FromPyObject<'_, '_> for Size {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        argument("size", &given, "an odd number of pixels from 1 to 511").map(Self)
    }
}

/// "scalar".
pub struct Model(pub simtiff_core::Model);

impl FromPyObject<'_, '_> for Model {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match given.extract::<&str>() {
            Ok("scalar") => Ok(Self(simtiff_core::Model::Scalar)),
            _ => Err(refused("model", &given, "'scalar'")),
        }
    }
}

/// "exact" or "paraxial".
pub struct Defocus(pub simtiff_core::Defocus);

impl FromPyObject<'_, '_> for Defocus {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match given.extract::<&str>() {
            Ok("exact") => Ok(Self(simtiff_core::Defocus::Exact)),
            Ok("paraxial") => Ok(Self(simtiff_core::Defocus::Paraxial)),
            _ => Err(refused("defocus", &given, "'exact' or 'paraxial'")),
        }
    }
}

/// "integrated", "point", or the number of samples per pixel and axis.
pub struct Sampling(pub simtiff_core::Sampling);

impl FromPyObject<'_, '_> for Sampling {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        const EXPECTED: &str = "'integrated', 'point' or the number of samples per pixel, from 1 to 64";
        if given.is_instance_of::<PyString>() {
            return match given.extract::<&str>() {
                Ok("integrated") => Ok(Self(simtiff_core::Sampling::Integrated)),
                Ok("point") => Ok(Self(simtiff_core::Sampling::Point)),
                _ => Err(refused("sampling", &given, EXPECTED)),
            };
        }
        Ok(Self(simtiff_core::Sampling::Binned(argument("sampling", &given, EXPECTED)?)))
    }
}
