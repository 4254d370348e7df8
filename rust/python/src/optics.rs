//! `simtiff_core::Spec` and its parts, converted from Python.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::types::PyString;
use simtiff_core::Gaussian;

use crate::errors::{ConfigError, argument, refused, to_python};

/// The attributes of Python's `Optics`, or of any object that has them.
#[derive(FromPyObject)]
pub struct Optics {
    wavelength_nm: f64,
    #[pyo3(attribute("NA"))]
    na: f64,
    n_immersion: f64,
    pixel_size_nm_x: f64,
    pixel_size_nm_y: f64,
    n_sample: Option<f64>,
    n_coverslip: Option<f64>,
    focal_depth_um: f64,
}

impl Optics {
    /// The core's optics, with checked values.
    fn checked(&self) -> PyResult<simtiff_core::Optics> {
        let pixel_nm = [self.pixel_size_nm_x, self.pixel_size_nm_y];
        let plain = simtiff_core::Optics::new(self.wavelength_nm, self.na, self.n_immersion, pixel_nm);
        let [sample, coverslip] = [self.n_sample, self.n_coverslip].map(|n| n.unwrap_or(self.n_immersion));
        plain.and_then(|optics| optics.with_sample(sample, coverslip, self.focal_depth_um)).map_err(to_python)
    }

    /// Settings that a model with a single medium does not support.
    fn of_several_media(&self) -> Option<(&'static str, f64)> {
        let depth = (self.focal_depth_um != 0.0).then_some(self.focal_depth_um);
        let named = [("n_sample", self.n_sample), ("n_coverslip", self.n_coverslip), ("focal_depth_um", depth)];
        named.into_iter().find_map(|(name, value)| Some((name, value?)))
    }
}

/// The parameters of stamps, except the number of coefficients. Checked on creation.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Spec(simtiff_core::Spec);

#[pymethods]
impl Spec {
    #[new]
    #[pyo3(signature = (
        optics, size, model, defocus, sampling, blur_nm=[0.0; 2], sigma_nm=[130.0; 2], depth_nm=None, astigmatism_nm=0.0
    ))]
    #[allow(clippy::needless_pass_by_value, reason = "arguments come from Python by value")]
    #[allow(clippy::too_many_arguments, reason = "the keys of a config")]
    fn new(
        optics: Optics,
        size: Size,
        model: &Bound<'_, PyAny>,
        defocus: Defocus,
        sampling: Sampling,
        blur_nm: [f64; 2],
        sigma_nm: [f64; 2],
        depth_nm: Option<f64>,
        astigmatism_nm: f64,
    ) -> PyResult<Self> {
        let model = match model.extract::<&str>() {
            Ok("scalar") => simtiff_core::Model::Scalar,
            Ok("vectorial") => simtiff_core::Model::Vectorial,
            Ok("gaussian") => simtiff_core::Model::Gaussian(Gaussian { sigma_nm, depth_nm, astigmatism_nm }),
            _ => return Err(refused("model", model, "'scalar', 'vectorial' or 'gaussian'")),
        };
        if let Some((name, value)) = optics.of_several_media().filter(|_| model != simtiff_core::Model::Vectorial) {
            let message = format!("{name} is {value}; only the model 'vectorial' has it; leave it out");
            return Err(ConfigError::new_err(message));
        }
        let optics = optics.checked()?;
        let spec = simtiff_core::Spec {
            optics,
            size: size.0,
            modes: 0,
            model,
            defocus: defocus.0,
            sampling: sampling.0,
            blur_nm,
        };
        spec.check().map_err(to_python)?;
        Ok(Self(spec))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.0).hash(&mut hasher);
        hasher.finish()
    }
}

impl Spec {
    /// The core's spec for this number of coefficients.
    pub fn with_modes(&self, modes: usize) -> simtiff_core::Spec {
        self.0.with_modes(modes)
    }
}

/// Side of a stamp in pixels.
pub struct Size(pub usize);

impl FromPyObject<'_, '_> for Size {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        argument("size", &given, "an odd number of pixels from 1 to 511").map(Self)
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
