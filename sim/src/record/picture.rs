//! The picture of a run: one file with the events and all that draws them, which opens from a disk and asks
//! nobody for anything.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A page of an events file. It is the same for the same events.
#[must_use]
pub fn picture(events: &str) -> String {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(events.as_bytes()).expect("memory takes everything");
    let packed = packed.finish().expect("memory takes everything");
    // What is put in holds no placeholder: the data is base64, the rest is ours.
    PAGE.replace("@@STYLE@@", STYLE)
        .replace("@@SCRIPT@@", &SCRIPTS.concat())
        .replace("@@DATA@@", &STANDARD.encode(packed))
}

const PAGE: &str = include_str!("picture/page.html");
const STYLE: &str = include_str!("picture/style.css");
const SCRIPTS: [&str; 4] = [
    include_str!("picture/model.js"),
    include_str!("picture/draw.js"),
    include_str!("picture/selftest.js"),
    include_str!("picture/page.js"),
];
