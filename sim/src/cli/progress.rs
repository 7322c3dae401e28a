//! Progress: a bar on a terminal, and elsewhere a line now and then.
#![expect(
    clippy::disallowed_methods,
    reason = "somebody waits in real time; nothing of it gets into a trace"
)]

use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt::Interrupt;
use super::output::complain;

/// How far something is. What it tells goes to the standard error.
pub(crate) struct Progress {
    bar: ProgressBar,
    message: Arc<Mutex<String>>,
    /// Closed when it is over, which ends the thread that tells.
    over: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to tell how many of `total` things are done, if it is known how many there are.
    pub(crate) fn begin(noun: &'static str, total: Option<u64>, interrupt: &Interrupt) -> Self {
        let (bar, message) = (bar(noun, total), Arc::new(Mutex::new(String::new())));
        let (over, is_over) = channel();
        let teller = bar.is_hidden().then(|| {
            let (bar, message, interrupt) = (bar.clone(), message.clone(), interrupt.clone());
            std::thread::spawn(move || {
                let start = Instant::now();
                while is_over.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                    let secs = start.elapsed().as_secs();
                    let message = message.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let of = total.map_or(String::new(), |total| format!(" of {total}"));
                    let done = bar.position();
                    let running = interrupt.in_words();
                    complain(&format!("{done}{of} {noun} in {secs} s{message}{running}"));
                }
            })
        });
        Self { bar, message, over: Some(over), teller }
    }

    /// One more is done.
    pub(crate) fn done(&self) {
        self.bar.inc(1);
    }

    /// What there is to say besides.
    pub(crate) fn say(&self, message: &str) {
        let behind = if message.is_empty() { String::new() } else { format!(", {message}") };
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = behind;
        self.bar.set_message(message.to_owned());
    }

    /// Writes lines that stay, above the bar if there is one.
    pub(crate) fn tell(&self, lines: &str) {
        self.bar.suspend(|| {
            for line in lines.lines() {
                complain(line);
            }
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.over.take());
        self.bar.finish_and_clear();
        if let Some(teller) = self.teller.take() {
            // It has nothing that could fail.
            let _ = teller.join();
        }
    }
}

fn bar(noun: &'static str, total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            format!("{{wide_bar}} {{pos}}/{{len}} {noun}  {{msg}}  {{elapsed}}"),
        ),
        None => (
            ProgressBar::new_spinner(),
            format!("{{spinner}} {{pos}} {noun}  {{msg}}  {{elapsed}}"),
        ),
    };
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// So long nothing is said where there is no terminal.
const SILENCE: Duration = Duration::from_secs(10);
