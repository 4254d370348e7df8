//! What files need at memory speed: checksums of what is written.

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

/// CRC-32 of data that begin with some whose checksum is `first`, and end with `length` bytes whose checksum is `second`.
#[pyfunction]
pub fn crc32_joined(first: u32, second: u32, length: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(first);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(second, length));
    hasher.finalize()
}
