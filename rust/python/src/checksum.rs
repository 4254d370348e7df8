//! Checksums of what is written, at memory speed.

use numpy::PyReadonlyArrayDyn;
use pyo3::prelude::*;

use crate::buffers;

/// CRC-32 (IEEE, that of zlib and PNG) of `data`, going on from the checksum `value` of what came before it.
#[pyfunction]
#[pyo3(signature = (data, value=0))]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn crc32(py: Python<'_>, data: PyReadonlyArrayDyn<'_, u8>, value: u32) -> PyResult<u32> {
    let bytes = buffers::read("data", &data)?;
    Ok(py.detach(|| {
        let mut hasher = crc32fast::Hasher::new_with_initial(value);
        hasher.update(bytes);
        hasher.finalize()
    }))
}
