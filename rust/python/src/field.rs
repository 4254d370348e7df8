//! `simtiff_core::spline_filter`, `simtiff_core::interpolate`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::Interpolation;

use crate::errors::{ConfigError, to_python};
use crate::{buffers, pool};

/// Convert planes (y, x) with rows of `width` values to cubic B-spline coefficients, in place.
#[pyfunction]
pub fn spline_filter(py: Python<'_>, mut planes: Vec<PyReadwriteArrayDyn<'_, f32>>, width: usize) -> PyResult<()> {
    let mut planes = planes.iter_mut().map(|plane| buffers::write("a plane", plane)).collect::<PyResult<Vec<_>>>()?;
    pool::run(py, None, |_| simtiff_core::spline_filter(&mut planes, width))?.map_err(to_python)
}

/// Fill `out` (n, planes) with the values of planes of `shape` (y, x) at positions (n, 2): x and y in pixels.
///
/// A plane may be (y, x, values), and counts as that many planes.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn interpolate(
    py: Python<'_>,
    planes: Vec<PyReadonlyArrayDyn<'_, f32>>,
    shape: (usize, usize),
    method: &str,
    places: PyReadonlyArrayDyn<'_, f64>,
    mut out: PyReadwriteArrayDyn<'_, f32>,
) -> PyResult<()> {
    let method = match method {
        "nearest" => Interpolation::Nearest,
        "linear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic,
        other => return Err(ConfigError::new_err(format!("method is {other:?}; expected cubic, linear or nearest"))),
    };
    let planes = planes.iter().map(|plane| buffers::read("a plane", plane)).collect::<PyResult<Vec<_>>>()?;
    let (places, out) = (buffers::rows("places", &places)?, buffers::write("out", &mut out)?);
    let shape = [shape.0, shape.1];
    pool::run(py, None, |stop| simtiff_core::interpolate(&planes, shape, method, places, out, stop))?.map_err(to_python)
}
