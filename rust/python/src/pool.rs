//! The process's thread pool. A worker process has its share of the cores, so the size can be set at any time; it
//! never changes results.

use std::process;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use simtiff_core::Stop;

use crate::errors::ConfigError;

/// The pool, and the process that its threads belong to: a forked child inherits the pool, but not the threads. Accessed
/// only with the GIL held, as for forks, so that a child never finds it locked.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// The maximum number of threads.
pub const MOST_THREADS: usize = 4096;

/// Interval at which a call checks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

fn slot() -> MutexGuard<'static, Option<(u32, Arc<ThreadPool>)>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process's pool. A forked child creates its own, with the size of its parent's.
fn current(py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let threads = match &*slot() {
        Some((owner, pool)) if *owner == process::id() => return Ok(Arc::clone(pool)),
        Some((_, pool)) => Some(pool.current_num_threads()),
        None => None,
    };
    let threads = match threads {
        Some(threads) => threads,
        None => default_threads(py)?, // other Python threads may run meanwhile
    };
    let pool = Arc::new(build(threads)?);
    keep(&pool);
    Ok(pool)
}

fn keep(pool: &Arc<ThreadPool>) {
    let before = slot().replace((process::id(), Arc::clone(pool)));
    if before.as_ref().is_some_and(|(owner, _)| *owner != process::id()) {
        std::mem::forget(before); // dropping it would notify its threads, which do not exist here
    }
}

/// The default number of threads.
fn default_threads(py: Python<'_>) -> PyResult<usize> {
    system(py)?.getattr("default_threads")?.call0()?.extract()
}

/// The package's module that determines the number of CPUs.
pub fn system(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("simtiff.io.system")
}

fn build(threads: usize) -> PyResult<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("simtiff-{i}"))
        .build()
        .map_err(|e| ConfigError::new_err(format!("could not start {threads} threads: {e}")))
}

/// Runs `work` on the pool with the GIL released. Meanwhile this thread, if it is Python's main thread, lets Python handle
/// signals, and calls `check`. If either raises, such as for Ctrl-C, work is stopped, and the exception is returned.
pub fn run<T: Send>(py: Python<'_>, check: Option<&Py<PyAny>>, work: impl FnOnce(&Stop) -> T + Send) -> PyResult<T> {
    let pool = current(py)?;
    let stop = &Stop::default();
    if pool.current_thread_index().is_some() {
        return Ok(py.detach(|| work(stop))); // called from a thread of the pool, which must not wait for it
    }
    let look = || {
        Python::attach(|py| {
            py.check_signals()?;
            check.map_or(Ok(()), |check| check.call0(py).map(drop))
        })
    };
    py.detach(|| {
        pool.in_place_scope(|scope| {
            let (done, result) = sync_channel(1);
            scope.spawn(move |_| _ = done.send(work(stop)));
            loop {
                match result.recv_timeout(LOOK) {
                    Ok(result) => return Some(Ok(result)),
                    Err(RecvTimeoutError::Disconnected) => return None, // a panic, which the scope propagates
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = look() {
                            stop.ask();
                            return Some(Err(error)); // at the end of the scope, when work has stopped
                        }
                    }
                }
            }
        })
    })
    .unwrap_or_else(|| unreachable!("a panic ends the scope"))
}

/// Set the number of threads for computations; 0 is one per core.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub fn set_threads(py: Python<'_>, n: usize) -> PyResult<()> {
    if n > MOST_THREADS {
        return Err(ConfigError::new_err(format!("{n} threads; at most {MOST_THREADS} are allowed")));
    }
    keep(&Arc::new(build(if n == 0 { default_threads(py)? } else { n })?));
    Ok(())
}

/// Number of threads for computations.
#[pyfunction]
pub fn threads(py: Python<'_>) -> PyResult<usize> {
    Ok(current(py)?.current_num_threads())
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
