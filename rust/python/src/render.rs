//! `simtiff_core::Psf`.

use std::sync::OnceLock;

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::{Defocus, Emitters, Exposure, Optics, Sampling};

use crate::camera::{Camera, Pixels};
use crate::errors::{ConfigError, to_python};
use crate::{buffers, pool};

/// PSFs of one microscope; keeps the matrices of the transform.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Psf(simtiff_core::Psf);

#[pymethods]
impl Psf {
    /// sampling: 0 integrates over pixels, -1 samples their centres, k > 0 averages k x k samples.
    #[new]
    #[pyo3(signature = (wavelength_nm, na, n_immersion, pixel_size_nm, size, modes, defocus, sampling))]
    #[allow(clippy::too_many_arguments, reason = "called from one place in Python, by name")]
    fn new(
        wavelength_nm: f64,
        na: f64,
        n_immersion: f64,
        pixel_size_nm: (f64, f64),
        size: usize,
        modes: usize,
        defocus: &str,
        sampling: i64,
    ) -> PyResult<Self> {
        let pixel_nm = [pixel_size_nm.0, pixel_size_nm.1];
        let optics = Optics::new(wavelength_nm, na, n_immersion, pixel_nm).map_err(to_python)?;
        let defocus = match defocus {
            "exact" => Defocus::Exact,
            "paraxial" => Defocus::Paraxial,
            other => {
                return Err(ConfigError::new_err(format!("defocus is {other:?}; expected \"exact\" or \"paraxial\"")));
            }
        };
        let sampling = match sampling {
            0 => Sampling::Integrated,
            -1 => Sampling::Point,
            k => Sampling::Binned(u32::try_from(k).unwrap_or(u32::MAX)),
        };
        simtiff_core::Psf::new(optics, size, modes, defocus, sampling).map(Self).map_err(to_python)
    }

    /// Fill `out` (n, size, size) with stamps.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn stamps(
        &self,
        py: Python<'_>,
        xyz: PyReadonlyArrayDyn<'_, f64>,
        phase: PyReadonlyArrayDyn<'_, f32>,
        magnitude: Option<PyReadonlyArrayDyn<'_, f32>>,
        mut out: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let magnitude = magnitude.as_ref().map(|m| buffers::read("magnitude", m)).transpose()?;
        let emitters = Emitters { xyz: buffers::rows("xyz", &xyz)?, phase: buffers::read("phase", &phase)?, magnitude };
        let out = buffers::write("out", &mut out)?;
        pool::run(py, || self.0.stamps(&emitters, out))?.map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with the expected photons of records.
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "called from one place in Python")]
    fn render(
        &self,
        py: Python<'_>,
        xyz: PyReadonlyArrayDyn<'_, f64>,
        phase: PyReadonlyArrayDyn<'_, f32>,
        magnitude: Option<PyReadonlyArrayDyn<'_, f32>>,
        emitter_ix: PyReadonlyArrayDyn<'_, u32>,
        frame_ix: PyReadonlyArrayDyn<'_, u32>,
        photons: PyReadonlyArrayDyn<'_, f32>,
        frame_shape: (usize, usize),
        mut out: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let magnitude = magnitude.as_ref().map(|m| buffers::read("magnitude", m)).transpose()?;
        let emitters = Emitters { xyz: buffers::rows("xyz", &xyz)?, phase: buffers::read("phase", &phase)?, magnitude };
        let records = buffers::records(&emitter_ix, &frame_ix, &photons)?;
        let out = buffers::write("out", &mut out)?;
        let shape = [frame_shape.0, frame_shape.1];
        pool::run(py, || self.0.render(&emitters, &records, shape, out))?.map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with a camera's frames of records; see `Camera.expose`. `space` is work space of that shape.
    /// `finished` is called with the index of each frame and the CRC-32 of its bytes as soon as it is whole, in any order and
    /// from any thread; what it raises ends the call.
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "called from one place in Python")]
    fn expose(
        &self,
        py: Python<'_>,
        xyz: PyReadonlyArrayDyn<'_, f64>,
        phase: PyReadonlyArrayDyn<'_, f32>,
        magnitude: Option<PyReadonlyArrayDyn<'_, f32>>,
        emitter_ix: PyReadonlyArrayDyn<'_, u32>,
        frame_ix: PyReadonlyArrayDyn<'_, u32>,
        photons: PyReadonlyArrayDyn<'_, f32>,
        camera: &Camera,
        key: u64,
        first_frame: u64,
        frame_shape: (usize, usize),
        mut space: PyReadwriteArrayDyn<'_, f32>,
        out: Pixels<'_>,
        finished: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let magnitude = magnitude.as_ref().map(|m| buffers::read("magnitude", m)).transpose()?;
        let emitters = Emitters { xyz: buffers::rows("xyz", &xyz)?, phase: buffers::read("phase", &phase)?, magnitude };
        let records = buffers::records(&emitter_ix, &frame_ix, &photons)?;
        let exposure = Exposure { seed: key, first_frame, height: frame_shape.0, width: frame_shape.1 };
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
                pool::run(py, || self.0.expose(&emitters, &records, &camera.0, exposure, space, out, finished))?
            }
            Pixels::F32(mut out) => {
                let out = buffers::write("out", &mut out)?;
                let finished = |t, frame: &[f32]| finished(t, bytemuck::cast_slice(frame));
                pool::run(py, || self.0.expose(&emitters, &records, &camera.0, exposure, space, out, finished))?
            }
        };
        match raised.into_inner() {
            Some(error) => Err(error),
            None => done.map_err(to_python),
        }
    }
}
