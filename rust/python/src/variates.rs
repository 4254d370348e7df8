//! `simtiff_core::exponential`, `simtiff_core::normal`, `simtiff_core::photons`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::PhotonLaw;

use crate::buffers;
use crate::errors::to_python;

/// Convert uniform numbers in [0, 1) to exponential variates with mean 1, in place.
#[pyfunction]
pub fn exponential(py: Python<'_>, mut uniform: PyReadwriteArrayDyn<'_, f64>) -> PyResult<()> {
    let uniform = buffers::write("uniform", &mut uniform)?;
    py.detach(|| simtiff_core::exponential(uniform));
    Ok(())
}

/// Convert uniform numbers in [0, 1), with as many second ones, to standard normal variates, in place.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn normal(
    py: Python<'_>,
    mut uniform: PyReadwriteArrayDyn<'_, f64>,
    second: PyReadonlyArrayDyn<'_, f64>,
) -> PyResult<()> {
    let (uniform, second) = (buffers::write("uniform", &mut uniform)?, buffers::read("second", &second)?);
    py.detach(|| simtiff_core::normal(uniform, second)).map_err(to_python)
}

/// Convert uniform numbers in [0, 1), with as many second ones, to Poisson variates with given means, in place.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn poisson(
    py: Python<'_>,
    mut uniform: PyReadwriteArrayDyn<'_, f64>,
    second: PyReadonlyArrayDyn<'_, f64>,
    mean: PyReadonlyArrayDyn<'_, f64>,
) -> PyResult<()> {
    let uniform = buffers::write("uniform", &mut uniform)?;
    let (second, mean) = (buffers::read("second", &second)?, buffers::read("mean", &mean)?);
    py.detach(|| simtiff_core::poisson(uniform, second, mean)).map_err(to_python)
}

/// Convert uniform numbers in [0, 1), with as many second ones, to photons of a distribution with mean and standard deviation, in place.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn photons(
    py: Python<'_>,
    mut uniform: PyReadwriteArrayDyn<'_, f64>,
    second: PyReadonlyArrayDyn<'_, f64>,
    law: (String, f64, f64),
) -> PyResult<()> {
    let (uniform, second) = (buffers::write("uniform", &mut uniform)?, buffers::read("second", &second)?);
    let law = photon_law(&law)?;
    py.detach(|| simtiff_core::photons(&law, uniform, second)).map_err(to_python)
}

/// A distribution by name, mean and standard deviation.
pub fn photon_law((name, mean, sigma): &(String, f64, f64)) -> PyResult<PhotonLaw> {
    PhotonLaw::new(name, *mean, *sigma).map_err(to_python)
}
