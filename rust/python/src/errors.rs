//! From the core's error to Python exceptions, and errors about arguments.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyBool;
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

/// A `ConfigError` about an argument.
pub fn refused(name: &str, given: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    ConfigError::new_err(format!("{name} is {}; expected {expected}", shown(given)))
}

/// An argument as a number or several, but not a boolean; otherwise a `ConfigError`.
pub fn argument<'py, T>(name: &str, given: &Bound<'py, PyAny>, expected: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let found = if given.is_instance_of::<PyBool>() { None } else { given.extract().ok() };
    found.ok_or_else(|| refused(name, given, expected))
}

/// A value as text of limited length, for messages.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return format!("an array of {} {:?}", array.dtype(), array.shape());
    }
    match value.repr().map(|text| text.to_string_lossy().into_owned()) {
        Ok(text) if text.chars().count() <= 80 => text,
        Ok(text) => text.chars().take(76).chain(" ...".chars()).collect(),
        Err(_) => "something that cannot be shown".to_owned(), // an integer with thousands of digits, for example
    }
}
