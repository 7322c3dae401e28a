//! Ctrl-C: the first ends the work at the next good moment, and says which; the second ends the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::output::complain;

/// Whether somebody has asked for an end, and what is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// What is replayed at the moment, by its number.
    running: Arc<Mutex<BTreeMap<usize, String>>>,
}

impl Interrupt {
    /// Listens to Ctrl-C from here on. `then` says what the first one leads to.
    pub(crate) fn listen(then: &'static str) -> Self {
        let interrupt = Self::default();
        let told = interrupt.clone();
        // Without a handler an interrupt just ends the process, which is harmless too.
        let _ = ctrlc::set_handler(move || {
            if told.asked.swap(true, Ordering::Relaxed) {
                complain("interrupted again: ends at once, without a summary");
                std::process::exit(INTERRUPTED.into());
            }
            let running = told.in_words();
            complain(&format!("interrupted: {then}{running}; Ctrl-C again ends at once"));
        });
        interrupt
    }

    /// Whether somebody has asked for an end.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The flag itself.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }

    /// Notes that this is under way.
    pub(crate) fn begin(&self, number: usize, what: String) {
        self.running().insert(number, what);
    }

    /// Notes that it is done.
    pub(crate) fn end(&self, number: usize) {
        self.running().remove(&number);
    }

    /// What is under way, behind a comma or the like; empty if nothing is.
    pub(crate) fn in_words(&self) -> String {
        let running = self.running();
        let names: Vec<_> = running.values().take(SHOWN).cloned().collect();
        if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) const INTERRUPTED: u8 = 130;
const SHOWN: usize = 8;
