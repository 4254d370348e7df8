//! `simtiff_core::Camera`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::Exposure;

use crate::errors::to_python;
use crate::{buffers, pool};

/// A camera: expected photons to counts.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Camera(simtiff_core::Camera);

#[pymethods]
impl Camera {
    #[new]
    #[pyo3(signature = (background, read_noise_e, shot_noise))]
    fn new(background: f64, read_noise_e: f64, shot_noise: bool) -> PyResult<Self> {
        simtiff_core::Camera::new(background, read_noise_e, shot_noise).map(Self).map_err(to_python)
    }

    /// Expose frames of `frame_shape` (y, x) as uint16; `key` is the scrambled seed.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn expose_u16(
        &self,
        py: Python<'_>,
        image: PyReadonlyArrayDyn<'_, f32>,
        key: u64,
        first_frame: u64,
        frame_shape: (usize, usize),
        mut out: PyReadwriteArrayDyn<'_, u16>,
    ) -> PyResult<()> {
        let exposure = Exposure { seed: key, first_frame, height: frame_shape.0, width: frame_shape.1 };
        let (image, out) = (buffers::read("image", &image)?, buffers::write("out", &mut out)?);
        pool::run(py, || self.0.expose_u16(image, exposure, out))?.map_err(to_python)
    }

    /// The same as float32, neither rounded nor clipped.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn expose_f32(
        &self,
        py: Python<'_>,
        image: PyReadonlyArrayDyn<'_, f32>,
        key: u64,
        first_frame: u64,
        frame_shape: (usize, usize),
        mut out: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let exposure = Exposure { seed: key, first_frame, height: frame_shape.0, width: frame_shape.1 };
        let (image, out) = (buffers::read("image", &image)?, buffers::write("out", &mut out)?);
        pool::run(py, || self.0.expose_f32(image, exposure, out))?.map_err(to_python)
    }
}
