//! What the tool writes, and where: nothing that was found out is lost because it cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

use crate::record::report::Verdict;

/// Whether something could not be written to the standard output.
static CUT_SHORT: AtomicBool = AtomicBool::new(false);

/// Writes to the standard output. A reader who has seen enough may close it.
pub(crate) fn print(text: &str) {
    let mut output = anstream::stdout();
    // What is left in a buffer would be lost in silence when the process ends.
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            if !CUT_SHORT.swap(true, Ordering::Relaxed) {
                complain(&format!("cannot write to the standard output: {error}"));
            }
        }
    }
}

/// Writes a sentence to the standard error.
pub(crate) fn complain(text: &str) {
    // There is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "lessor-sim: {text}");
}

/// The exit code, once all is written: a result that was cut short is no success.
pub(crate) fn exit_code(code: u8) -> u8 {
    if code == 0 && CUT_SHORT.load(Ordering::Relaxed) { BAD_INPUT } else { code }
}

/// The word of a verdict, in its colour.
pub(crate) fn painted(verdict: Verdict) -> String {
    let good = matches!(verdict, Verdict::Clean | Verdict::Stopped);
    let color = if good { AnsiColor::Green } else { AnsiColor::Red };
    let style = Style::new().fg_color(Some(color.into()));
    format!("{style}{}{style:#}", verdict.word())
}

/// So many of something.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Where a result goes besides, or in place of, the text for people. It is opened before the work begins,
/// and holds what it held before until there is a result.
#[derive(Debug)]
pub(crate) enum Target {
    /// Nowhere: only the text is printed.
    Nowhere,
    /// The standard output, in place of the text.
    Stdout,
    /// A file.
    File {
        path: PathBuf,
        file: File,
        /// Whether it is new and still empty: then it goes if there is no result.
        unused: bool,
    },
}

impl Target {
    /// Opens what the user has named, and makes its folder.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, u8> {
        match named {
            None => Ok(Self::Nowhere),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout),
            Some(path) => Self::open_file(path).map_err(|error| {
                complain(&format!("{}: cannot write to it: {error}", path.display()));
                BAD_INPUT
            }),
        }
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let path = path.to_path_buf();
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self::File { path, file, unused: true }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = OpenOptions::new().write(true).open(&path)?;
                Ok(Self::File { path, file, unused: false })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the text for people is to be printed.
    pub(crate) fn leaves_stdout(&self) -> bool {
        match self {
            Self::Nowhere | Self::File { .. } => true,
            Self::Stdout => false,
        }
    }

    /// Writes JSON, and gives the exit code: that of the run, or 2 if the run was well and what it found
    /// cannot be written.
    pub(crate) fn write_json(self, code: u8, document: &serde_json::Value) -> u8 {
        match self {
            Self::Nowhere => code,
            Self::Stdout | Self::File { .. } => self.write(code, &format!("{document:#}\n")),
        }
    }

    /// Writes text, as [`write_json`](Self::write_json). What a file does not take is printed.
    pub(crate) fn write(mut self, code: u8, text: &str) -> u8 {
        match &mut self {
            Self::Nowhere => code,
            Self::Stdout => {
                print(text);
                code
            }
            Self::File { path, file, unused } => match replace(file, text) {
                Ok(()) => {
                    *unused = false;
                    code
                }
                Err(error) => {
                    let path = path.display();
                    complain(&format!("{path}: cannot write the result, here it is: {error}"));
                    print(text);
                    if code == 0 { BAD_INPUT } else { code }
                }
            },
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { path, unused: true, .. } = self {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes of a file this text and nothing else.
fn replace(file: &mut File, text: &str) -> io::Result<()> {
    // A device has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())?;
    file.flush()
}

/// What can be done with a run that failed, each as a command to paste. `kept` is its scenario in a file, which
/// stays what it is when the generator changes.
pub(crate) fn next_steps(command: &str, what: &str, kept: &str) -> String {
    format!(
        "  shrink with:\n    {command} shrink {what}\n  \
         when it was decided:\n    {command} why {what}\n  \
         pass it on:\n    {command} bundle {what}\n  \
         which commit brought it, after `git bisect start BAD GOOD`:\n    \
         git bisect run sh -c '{command} --version || exit 125; {command} replay {kept}'\n"
    )
}

pub(crate) const BAD_INPUT: u8 = 2;
pub(crate) const NOTHING_RAN: u8 = 4;
pub(crate) const CANNOT_JUDGE: u8 = 125;
/// How many lines of its trace a failed scenario shows in the summary.
pub(crate) const LAST_LINES: usize = 30;
