//! `simtiff_core::Camera`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::Exposure;

use crate::errors::to_python;
use crate::{buffers, pool};

/// Frames to fill, of either type of pixel.
#[derive(FromPyObject)]
pub enum Pixels<'py> {
    #[pyo3(transparent)]
    U16(PyReadwriteArrayDyn<'py, u16>),
    #[pyo3(transparent)]
    F32(PyReadwriteArrayDyn<'py, f32>),
}

impl Pixels<'_> {
    /// Height and width of a frame.
    pub fn frame_shape(&self) -> PyResult<[usize; 2]> {
        match self {
            Self::U16(out) => buffers::frame_shape(out),
            Self::F32(out) => buffers::frame_shape(out),
        }
    }
}

/// A camera: expected photons to counts.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Camera {
    pub(crate) camera: simtiff_core::Camera,
    arguments: (f64, f64, bool),
}

#[pymethods]
impl Camera {
    #[new]
    #[pyo3(signature = (background, read_noise_e, shot_noise))]
    fn new(background: f64, read_noise_e: f64, shot_noise: bool) -> PyResult<Self> {
        let camera = simtiff_core::Camera::new(background, read_noise_e, shot_noise).map_err(to_python)?;
        Ok(Self { camera, arguments: (background, read_noise_e, shot_noise) })
    }

    /// What it is pickled and copied by.
    fn __getnewargs__(&self) -> (f64, f64, bool) {
        self.arguments
    }

    /// Expose frames into `out` (..., y, x); `key` is the scrambled seed. uint16 counts are rounded and clipped, float32 ones
    /// are neither.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn expose(
        &self,
        py: Python<'_>,
        image: PyReadonlyArrayDyn<'_, f32>,
        key: u64,
        first_frame: u64,
        out: Pixels<'_>,
    ) -> PyResult<()> {
        let [height, width] = out.frame_shape()?;
        let exposure = Exposure { seed: key, first_frame, height, width };
        let image = buffers::read("image", &image)?;
        match out {
            Pixels::U16(mut out) => {
                let out = buffers::write("out", &mut out)?;
                pool::run(py, None, |stop| self.camera.expose(image, exposure, out, stop))?
            }
            Pixels::F32(mut out) => {
                let out = buffers::write("out", &mut out)?;
                pool::run(py, None, |stop| self.camera.expose(image, exposure, out, stop))?
            }
        }
        .map_err(to_python)
    }
}
