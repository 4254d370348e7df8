//! `simtiff_core::Scene`, from the attributes of Python's `Scene`.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use simtiff_core::{Background, Emitters, Records};

use crate::buffers;
use crate::errors::{argument, shape};

/// The arrays of a Python `Scene`, borrowed: each of its exact type.
pub struct Scene<'py> {
    xyz: PyReadonlyArrayDyn<'py, f64>,
    phase: PyReadonlyArrayDyn<'py, f32>,
    magnitude: Option<PyReadonlyArrayDyn<'py, f32>>,
    emitter_ix: PyReadonlyArrayDyn<'py, u32>,
    frame_ix: PyReadonlyArrayDyn<'py, u32>,
    photons: PyReadonlyArrayDyn<'py, f32>,
    origin: (f64, f64),
    background: Option<PyReadonlyArrayDyn<'py, f32>>,
    background_factor: Option<PyReadonlyArrayDyn<'py, f64>>,
}

impl<'py> FromPyObject<'_, 'py> for Scene<'py> {
    type Error = PyErr;

    fn extract(scene: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self {
            xyz: buffers::borrow("xyz", &scene.getattr("xyz")?)?,
            phase: buffers::borrow("phase", &scene.getattr("phase")?)?,
            magnitude: buffers::borrow_if_any(&scene, "magnitude")?,
            emitter_ix: buffers::borrow("emitter_ix", &scene.getattr("emitter_ix")?)?,
            frame_ix: buffers::borrow("frame_ix", &scene.getattr("frame_ix")?)?,
            photons: buffers::borrow("photons", &scene.getattr("photons")?)?,
            origin: argument("origin", &scene.getattr("origin")?, "two numbers, x and y in px")?,
            background: buffers::borrow_if_any(&scene, "background")?,
            background_factor: buffers::borrow_if_any(&scene, "background_factor")?,
        })
    }
}

impl Scene<'_> {
    /// Its emitters; the core checks lengths.
    pub fn emitters(&self) -> PyResult<Emitters<'_>> {
        if self.xyz.ndim() != 2 || self.xyz.shape()[1] != 3 {
            return Err(shape(format!("xyz has shape {:?}; expected (n, 3)", self.xyz.shape())));
        }
        Ok(Emitters {
            xyz: buffers::read("xyz", &self.xyz)?.as_chunks().0,
            phase: buffers::read("phase", &self.phase)?,
            magnitude: self.magnitude.as_ref().map(|m| buffers::read("magnitude", m)).transpose()?,
        })
    }

    /// The complete scene.
    pub fn view(&self) -> PyResult<simtiff_core::Scene<'_>> {
        let records = Records {
            emitter: buffers::read("emitter_ix", &self.emitter_ix)?,
            frame: buffers::read("frame_ix", &self.frame_ix)?,
            photons: buffers::read("photons", &self.photons)?,
        };
        let background = match (&self.background, &self.background_factor) {
            (None, None) => None,
            (Some(image), factor) => Some(Background {
                image: buffers::read("background", image)?,
                factor: factor.as_ref().map_or(Ok(&[][..]), |factor| buffers::read("background_factor", factor))?,
            }),
            (None, Some(_)) => return Err(shape("background_factor is given without background".to_owned())),
        };
        Ok(simtiff_core::Scene { emitters: self.emitters()?, records, origin: self.origin.into(), background })
    }
}
