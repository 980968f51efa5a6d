//! The signals that end a command in good order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Failure, Outcome};

/// SIGTERM and Ctrl-C, from when this was made.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to watch: from here on these signals do not end the process by themselves.
    ///
    /// # Errors
    /// The system has no room for it.
    pub(crate) fn watch() -> Outcome<Self> {
        let failed = |error: io::Error| {
            Failure::usage(format!("cannot wait for signals: {error}"), "try again")
        };
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits until one of them comes.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
