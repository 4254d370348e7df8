//! `simtiff_core::Psf`.

use std::sync::OnceLock;

use numpy::PyReadwriteArrayDyn;
use pyo3::prelude::*;
use simtiff_core::Exposure;

use crate::camera::{Camera, Pixels};
use crate::errors::to_python;
use crate::optics::{Defocus, Optics, Sampling, Size};
use crate::scene::Scene;
use crate::{buffers, pool};

/// PSFs of one microscope; keeps the matrices of the transform.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Psf(simtiff_core::Psf);

#[pymethods]
impl Psf {
    #[new]
    #[pyo3(signature = (optics, size, modes, defocus, sampling))]
    #[allow(clippy::needless_pass_by_value, reason = "arguments come from Python by value")]
    fn new(optics: Optics, size: Size, modes: usize, defocus: Defocus, sampling: Sampling) -> PyResult<Self> {
        simtiff_core::Psf::new(optics.checked()?, size.0, modes, defocus.0, sampling.0).map(Self).map_err(to_python)
    }

    /// Check arguments of the constructor, but for modes, before anything is made.
    #[staticmethod]
    #[pyo3(signature = (optics, size, defocus, sampling))]
    #[allow(clippy::needless_pass_by_value, reason = "arguments come from Python by value")]
    fn check(optics: Optics, size: Size, defocus: Defocus, sampling: Sampling) -> PyResult<()> {
        let Defocus(_) = defocus; // any is allowed
        simtiff_core::Psf::check(&optics.checked()?, size.0, sampling.0).map_err(to_python)
    }

    /// Fill `out` (n, size, size) with the stamps of a scene's emitters: x and y from the stamp's middle pixel.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn stamps(&self, py: Python<'_>, scene: Scene<'_>, mut out: PyReadwriteArrayDyn<'_, f32>) -> PyResult<()> {
        let emitters = scene.emitters()?;
        let out = buffers::write("out", &mut out)?;
        pool::run(py, || self.0.stamps(&emitters, out))?.map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with the expected photons of a scene.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn render(&self, py: Python<'_>, scene: Scene<'_>, mut out: PyReadwriteArrayDyn<'_, f32>) -> PyResult<()> {
        let (scene, shape) = (scene.view()?, buffers::frame_shape(&out)?);
        let out = buffers::write("out", &mut out)?;
        pool::run(py, || self.0.render(&scene, shape, out))?.map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with a camera's frames of a scene; see `Camera.expose`. `space` is work space of that shape.
    /// `finished` is called with the index of each frame and the CRC-32 of its bytes as soon as it is whole, in any order and
    /// from any thread; what it raises ends the call.
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "called from one place in Python")]
    fn expose(
        &self,
        py: Python<'_>,
        scene: Scene<'_>,
        camera: &Camera,
        key: u64,
        first_frame: u64,
        mut space: PyReadwriteArrayDyn<'_, f32>,
        out: Pixels<'_>,
        finished: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let (scene, [height, width]) = (scene.view()?, out.frame_shape()?);
        let exposure = Exposure { seed: key, first_frame, height, width };
        let space = buffers::write("space", &mut space)?;
        let raised = OnceLock::new();
        let finished = |t: usize, bytes: &[u8]| {
            let Some(finished) = &finished else { return true };
            let told = (t, crc32fast::hash(bytes));
            Python::attach(|py| finished.call1(py, told)).map_err(|error| raised.set(error)).is_ok()
        };
        let done = match out {
            Pixels::U16(mut out) => {
                let out = buffers::write("out", &mut out)?;
                let finished = |t, frame: &[u16]| finished(t, bytemuck::cast_slice(frame));
                pool::run(py, || self.0.expose(&scene, &camera.0, exposure, space, out, finished))?
            }
            Pixels::F32(mut out) => {
                let out = buffers::write("out", &mut out)?;
                let finished = |t, frame: &[f32]| finished(t, bytemuck::cast_slice(frame));
                pool::run(py, || self.0.expose(&scene, &camera.0, exposure, space, out, finished))?
            }
        };
        match raised.into_inner() {
            Some(error) => Err(error),
            None => done.map_err(to_python),
        }
    }
}
