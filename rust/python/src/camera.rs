//! `simtiff_core::Camera`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::Exposure;

use crate::errors::to_python;
use crate::{buffers, pool};

/// Output frames, with either pixel type.
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

/// The attributes of Python's `CameraMaps`: arrays (y, x), or None.
pub struct Maps(pub simtiff_core::Maps);

impl FromPyObject<'_, '_> for Maps {
    type Error = PyErr;

    fn extract(maps: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let values = |name| {
            let Some(map) = buffers::borrow_if_any::<f32>(&maps, name)? else { return Ok(vec![]) };
            buffers::read(name, &map).map(<[f32]>::to_vec)
        };
        let maps = simtiff_core::Maps {
            quantum_efficiency: values("quantum_efficiency")?,
            read_noise_e: values("read_noise_e")?,
            adu_per_e: values("adu_per_e")?,
            offset_adu: values("offset_adu")?,
        };
        Ok(Self(maps))
    }
}

/// A camera: from expected photons to counts.
#[pyclass(frozen, module = "simtiff._core")]
pub struct Camera {
    pub(crate) camera: simtiff_core::Camera,
}

#[pymethods]
impl Camera {
    #[new]
    #[pyo3(signature = (background, read_noise_e, shot_noise, *, quantum_efficiency=1.0, em_gain=None, e_per_adu=1.0, offset_adu=0.0,
                        bit_depth=16, full_well_e=None, register_full_well_e=None, dark_e=0.0, maps=None))]
    #[allow(clippy::too_many_arguments, reason = "a number for each stage; called from one place in Python")]
    fn new(
        background: f64,
        read_noise_e: f64,
        shot_noise: bool,
        quantum_efficiency: f64,
        em_gain: Option<f64>,
        e_per_adu: f64,
        offset_adu: f64,
        bit_depth: u32,
        full_well_e: Option<f64>,
        register_full_well_e: Option<f64>,
        dark_e: f64,
        maps: Option<Maps>,
    ) -> PyResult<Self> {
        let settings = simtiff_core::Settings {
            background,
            shot_noise,
            quantum_efficiency,
            dark_e,
            full_well_e,
            register: em_gain.map(|gain| simtiff_core::Register { gain, full_well_e: register_full_well_e }),
            read_noise_e,
            e_per_adu,
            offset_adu,
            bit_depth,
            maps: maps.map(|Maps(maps)| maps).unwrap_or_default(),
        };
        simtiff_core::Camera::of(settings).map(|camera| Self { camera }).map_err(to_python)
    }

    /// Expose frames into `out` (..., y, x); `key` is the hashed seed. uint16 counts are rounded and clipped, float32 counts
    /// are not.
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
