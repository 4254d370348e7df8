//! `simtiff_core::Psf`.

use std::sync::OnceLock;

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::Exposure;

use crate::camera::{Camera, Maps, Pixels};
use crate::errors::to_python;
use crate::optics::Spec;
use crate::scene::Scene;
use crate::{buffers, pool};

/// The cost of a `Psf` with the same arguments, without computing anything.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Cost(simtiff_core::Cost);

#[pymethods]
impl Cost {
    #[new]
    fn new(spec: &Spec, modes: usize) -> PyResult<Self> {
        simtiff_core::Cost::new(spec.with_modes(modes)).map(Self).map_err(to_python)
    }

    /// The quadrature rows that an emitter needs at x, y (px from the stamp's central pixel) and z (um), with phase coefficients
    /// from Noll 1 on; emitters of a config need at most `MOST_ROWS` without their aberrations.
    #[pyo3(signature = (x, y, z, phase=vec![]))]
    #[allow(clippy::needless_pass_by_value, reason = "arguments come from Python by value")]
    fn rows(&self, x: f64, y: f64, z: f64, phase: Vec<f32>) -> PyResult<f32> {
        self.0.rows([x, y, z], &phase).map_err(to_python)
    }

    /// Maximum bytes of the matrices for emitters that need this range of rows, and of the scratch space of this number of threads.
    fn transform_bytes(&self, fewest_rows: f32, most_rows: f32, threads: usize) -> usize {
        self.0.transform_bytes(fewest_rows, most_rows, threads)
    }

    /// Maximum bytes that `Psf.expose` needs in addition to `out`: stamps, and photons if these do not fit into the scratch space.
    fn expose_bytes(&self, emitters: usize, pixels: usize) -> usize {
        self.0.expose_bytes(emitters, pixels)
    }
}

/// Noise properties of a camera: the attributes of Python's `Detector`.
#[derive(FromPyObject)]
pub struct Detector {
    quantum_efficiency: f64,
    dark_e: f64,
    read_noise_e: f64,
    excess_noise: f64,
    maps: Option<Maps>,
}

impl From<Detector> for simtiff_core::Detector {
    fn from(detector: Detector) -> Self {
        let Detector { quantum_efficiency, dark_e, read_noise_e, excess_noise, maps } = detector;
        let maps = maps.map(|Maps(maps)| maps).unwrap_or_default();
        Self { quantum_efficiency, dark_e, read_noise_e, excess_noise, maps }
    }
}

/// PSFs of one microscope; caches the transform matrices.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Psf(simtiff_core::Psf);

#[pymethods]
impl Psf {
    #[new]
    fn new(spec: &Spec, modes: usize) -> PyResult<Self> {
        simtiff_core::Psf::new(spec.with_modes(modes)).map(Self).map_err(to_python)
    }

    /// Bytes of the matrices computed so far.
    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Fill `out` (n, size, size) with the stamps of a scene's emitters: x and y relative to the stamp's central pixel.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn stamps(&self, py: Python<'_>, scene: Scene<'_>, mut out: PyReadwriteArrayDyn<'_, f32>) -> PyResult<()> {
        let emitters = scene.emitters()?;
        let out = buffers::write("out", &mut out)?;
        pool::run(py, None, |stop| self.0.stamps(&emitters, out, stop))?.map_err(to_python)
    }

    /// Fill `out` (n, 4 + modes, size, size) with stamps and their derivatives with respect to x, y, z and selected modes, counted from 0.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn gradients(
        &self,
        py: Python<'_>,
        scene: Scene<'_>,
        modes: Vec<usize>,
        mut out: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let emitters = scene.emitters()?;
        let out = buffers::write("out", &mut out)?;
        pool::run(py, None, |stop| self.0.gradients(&emitters, &modes, out, stop))?.map_err(to_python)
    }

    /// Fill `out` (n, 5) with the single-emitter bounds of a scene's emitters on their stamps; photons and background (n,).
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn bounds(
        &self,
        py: Python<'_>,
        scene: Scene<'_>,
        photons: PyReadonlyArrayDyn<'_, f64>,
        background: PyReadonlyArrayDyn<'_, f64>,
        detector: Detector,
        mut out: PyReadwriteArrayDyn<'_, f64>,
    ) -> PyResult<()> {
        let emitters = scene.emitters()?;
        let (photons, background) = (buffers::read("photons", &photons)?, buffers::read("background", &background)?);
        let (detector, out) = (simtiff_core::Detector::from(detector), buffers::write("out", &mut out)?);
        pool::run(py, None, |stop| self.0.bounds(&emitters, photons, background, &detector, out, stop))?
            .map_err(to_python)
    }

    /// Fill `out` (m, 5) with the bounds of a scene's records from the pixels of their frames, of `shape` (y, x); background (t,).
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "called from one place in Python")]
    fn record_bounds(
        &self,
        py: Python<'_>,
        scene: Scene<'_>,
        background: PyReadonlyArrayDyn<'_, f64>,
        shape: [usize; 2],
        detector: Detector,
        joint: bool,
        mut out: PyReadwriteArrayDyn<'_, f64>,
    ) -> PyResult<()> {
        let scene = scene.view()?;
        let background = buffers::read("background", &background)?;
        let (detector, out) = (simtiff_core::Detector::from(detector), buffers::write("out", &mut out)?);
        pool::run(py, None, |stop| self.0.record_bounds(&scene, background, shape, &detector, joint, out, stop))?
            .map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with the expected photons of a scene.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn render(&self, py: Python<'_>, scene: Scene<'_>, mut out: PyReadwriteArrayDyn<'_, f32>) -> PyResult<()> {
        let (scene, shape) = (scene.view()?, buffers::frame_shape(&out)?);
        let out = buffers::write("out", &mut out)?;
        pool::run(py, None, |stop| self.0.render(&scene, shape, out, stop))?.map_err(to_python)
    }

    /// Overwrite `out` (t, y, x) with a camera's frames of a scene; see `Camera.expose`. `space` is scratch space of that shape.
    /// `finished` is called with the index of each frame and the CRC-32 of its bytes as soon as it is complete, in any order and
    /// from any thread; `check` from the calling thread, many times per second. If either raises, the call ends.
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
        check: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let (scene, [height, width]) = (scene.view()?, out.frame_shape()?);
        let exposure = Exposure { seed: key, first_frame, height, width };
        let space = buffers::write("space", &mut space)?;
        let (raised, check) = (OnceLock::new(), check.as_ref());
        let finished = |t: usize, bytes: &[u8]| {
            let Some(finished) = &finished else { return true };
            let told = (t, crc32fast::hash(bytes));
            // nothing is dropped outside: PyO3 would add it to a list with a lock, which a fork could find locked
            Python::attach(|py| finished.call1(py, told).map_err(|error| _ = raised.set(error)).is_ok())
        };
        let done = match out {
            Pixels::U16(mut out) => {
                let out = buffers::write("out", &mut out)?;
                let finished = |t, frame: &[u16]| finished(t, bytemuck::cast_slice(frame));
                pool::run(py, check, |stop| {
                    self.0.expose(&scene, &camera.camera, exposure, space, out, finished, stop)
                })?
            }
            Pixels::F32(mut out) => {
                let out = buffers::write("out", &mut out)?;
                let finished = |t, frame: &[f32]| finished(t, bytemuck::cast_slice(frame));
                pool::run(py, check, |stop| {
                    self.0.expose(&scene, &camera.camera, exposure, space, out, finished, stop)
                })?
            }
        };
        match raised.into_inner() {
            Some(error) => Err(error),
            None => done.map_err(to_python),
        }
    }
}
