//! From the core's error to Python's exceptions.

use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use simtiff_core::Error;

import_exception!(simtiff.errors, ConfigError);
import_exception!(simtiff.errors, ShapeError);

/// A wrong length or layout is a `ShapeError`, a wrong value a `ConfigError`; both are `ValueError`s.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Length { .. } => ShapeError::new_err(error.to_string()),
        Error::Value { .. } => ConfigError::new_err(error.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// A `ShapeError` about an array.
pub fn shape(message: String) -> PyErr {
    ShapeError::new_err(message)
}
