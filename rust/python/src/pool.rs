//! The process's pool of threads. A worker process has its share of the cores, so the size can be set at any time; it
//! never changes results.

use std::sync::{Arc, PoisonError, RwLock};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::ConfigError;

static POOL: RwLock<Option<Arc<ThreadPool>>> = RwLock::new(None);

/// The most threads that can be asked for.
pub const MOST_THREADS: usize = 4096;

fn current() -> PyResult<Arc<ThreadPool>> {
    if let Some(pool) = &*POOL.read().unwrap_or_else(PoisonError::into_inner) {
        return Ok(Arc::clone(pool));
    }
    let mut slot = POOL.write().unwrap_or_else(PoisonError::into_inner);
    let pool = match &*slot {
        Some(pool) => Arc::clone(pool),
        None => Arc::new(build(0)?),
    };
    *slot = Some(Arc::clone(&pool));
    Ok(pool)
}

fn build(threads: usize) -> PyResult<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("simtiff-{i}"))
        .build()
        .map_err(|e| ConfigError::new_err(format!("could not start {threads} threads: {e}")))
}

/// Runs `work` on the pool with the GIL released.
pub fn run<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = current()?;
    Ok(py.detach(|| pool.install(work)))
}

/// Set the number of threads that simtiff computes with; 0 is one per core.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub fn set_threads(n: usize) -> PyResult<()> {
    if n > MOST_THREADS {
        return Err(ConfigError::new_err(format!("{n} threads; at most {MOST_THREADS} are allowed")));
    }
    let pool = build(n)?;
    *POOL.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pool));
    Ok(())
}

/// Number of threads that simtiff computes with.
#[pyfunction]
pub fn threads() -> PyResult<usize> {
    Ok(current()?.current_num_threads())
}

/// Instruction set in use: "avx512", "avx2", "neon" or "scalar".
#[pyfunction]
pub fn simd_level() -> &'static str {
    match simtiff_core::level() {
        simtiff_core::Level::Avx512 => "avx512",
        simtiff_core::Level::Avx2 => "avx2",
        simtiff_core::Level::Neon => "neon",
        simtiff_core::Level::Scalar => "scalar",
    }
}
