//! Stop requests for long calls.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Whether a call should stop. Another thread may request it. The call checks after every few emitters, records or pixels,
/// and then returns [`Error::Stopped`]: its output is partly written, and no other state is changed.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Requests the calls that use this to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// [`Error::Stopped`] if a stop was requested.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}
