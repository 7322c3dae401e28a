//! Scenario files that somebody has worked on: lines and words are moved, exchanged and cut.
//!
//! Most edits put something where its kind is expected, so that many files are still scenarios.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use lessor_sim::generate::generate;
use quickcheck::{Arbitrary, Gen};

/// The scenarios of the repository, and some that were generated.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = folder.read_dir().expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let texts = paths.iter().map(|path| fs::read_to_string(path).expect("it is text"));
    texts.chain((0..10).map(|seed| generate(seed).to_toml())).collect()
});

/// A file that somebody has worked on.
#[derive(Clone, Debug)]
pub(super) struct Edited {
    /// Which of the texts.
    text: usize,
    edits: Vec<Edit>,
}

/// Places are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Edit {
    DeleteLine(usize),
    CopyLine { from: usize, to: usize },
    InsertLine { at: usize, line: &'static str },
    CopyWord { from: usize, to: usize },
    ReplaceWord { at: usize, word: &'static str },
    InsertLetter { at: usize, letter: char },
    Cut { at: usize, letters: usize },
}

impl Arbitrary for Edited {
    fn arbitrary(g: &mut Gen) -> Self {
        let edits = (0..=u8::arbitrary(g) % 4).map(|_| Edit::arbitrary(g)).collect();
        Self { text: usize::arbitrary(g) % TEXTS.len(), edits }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let text = self.text;
        Box::new(self.edits.shrink().map(move |edits| Self { text, edits }))
    }
}

impl Arbitrary for Edit {
    fn arbitrary(g: &mut Gen) -> Self {
        let (at, from) = (usize::arbitrary(g), usize::arbitrary(g));
        // The head of a file says more than its steps, which are many.
        let at = if bool::arbitrary(g) { at % 16 } else { at };
        match u8::arbitrary(g) % 12 {
            0 => Self::DeleteLine(at),
            1 | 2 => Self::CopyLine { from, to: at },
            3 => Self::InsertLine { at, line: g.choose(&LINES).expect("there are some") },
            4 => Self::InsertLine { at, line: g.choose(&COMMENTS).expect("there are some") },
            5..8 => Self::CopyWord { from, to: at },
            8..10 => Self::ReplaceWord { at, word: g.choose(&WORDS).expect("there are some") },
            10 => Self::InsertLetter { at, letter: char::arbitrary(g) },
            _ => Self::Cut { at, letters: from % 20 },
        }
    }
}

impl Edited {
    pub(super) fn text(&self) -> String {
        let mut text = TEXTS[self.text].clone();
        for edit in &self.edits {
            edit.apply(&mut text);
        }
        text
    }
}

impl Edit {
    fn apply(&self, text: &mut String) {
        let (lines, words, letters) = (lines(text), words(text), letters(text));
        let place = |places: &[Range<usize>], at: usize| match places.len() {
            0 => 0..0,
            many => places[at % many].clone(),
        };
        match self {
            Self::DeleteLine(at) => text.replace_range(place(&lines, *at), ""),
            Self::CopyLine { from, to } => {
                let copy = text[place(&lines, *from)].to_owned();
                text.insert_str(place(&lines, *to).start, &copy);
            }
            Self::InsertLine { at, line } => {
                text.insert_str(place(&lines, *at).start, &format!("{line}\n"));
            }
            Self::CopyWord { from, to } => {
                let copy = text[place(&words, *from)].to_owned();
                text.replace_range(place(&words, *to), &copy);
            }
            Self::ReplaceWord { at, word } => text.replace_range(place(&words, *at), word),
            Self::InsertLetter { at, letter } => text.insert(place(&letters, *at).start, *letter),
            Self::Cut { at, letters: many } => {
                let start = place(&letters, *at).start;
                let cut = text[start..].chars().take(*many).map(char::len_utf8).sum::<usize>();
                text.replace_range(start..start + cut, "");
            }
        }
    }
}

/// Each with its end.
fn lines(text: &str) -> Vec<Range<usize>> {
    ranges(text, |start| text[start..].find('\n').map_or(text.len(), |end| start + end + 1))
}

/// Strings, numbers and names.
fn words(text: &str) -> Vec<Range<usize>> {
    let end = |start: usize| {
        let rest = &text[start..];
        let len = if let Some(string) = rest.strip_prefix('"') {
            string.find('"').map(|end| end + 2)
        } else {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c))
        };
        let first = rest.chars().next().map_or(1, char::len_utf8);
        start + len.unwrap_or(rest.len()).max(first)
    };
    let mut words = ranges(text, end);
    words.retain(|word| text[word.clone()].starts_with(|c: char| c == '"' || c.is_alphanumeric()));
    words
}

fn letters(text: &str) -> Vec<Range<usize>> {
    text.char_indices().map(|(start, letter)| start..start + letter.len_utf8()).collect()
}

/// One behind the other, each with the end that belongs to its start.
fn ranges(text: &str, end: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut start = 0;
    let next = || {
        let range = (start < text.len()).then(|| start..end(start))?;
        start = range.end;
        Some(range)
    };
    std::iter::from_fn(next).collect()
}

/// A file in which single bytes are others.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    edited: Edited,
    others: Vec<(usize, u8)>,
}

impl Arbitrary for Bytes {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { edited: Edited::arbitrary(g), others: Vec::arbitrary(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let edited = self.edited.clone();
        Box::new(self.others.shrink().map(move |others| Self { edited: edited.clone(), others }))
    }
}

impl Bytes {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.edited.text().into_bytes();
        for (at, byte) in &self.others {
            let at = at % bytes.len().max(1);
            bytes.splice(at..bytes.len().min(at + 1), [*byte]);
        }
        bytes
    }
}

const COMMENTS: [&str; 3] = ["#", "# more of the story", ""];

const LINES: [&str; 15] = [
    "schema = 2",
    "seed = 18446744073709551615",
    "members = 7",
    "store = \"journal\"",
    "[config]",
    "[log]",
    "[clocks]",
    "[ending]",
    "[[clock]]",
    "[[step]]",
    "[[herd]]",
    "[[expect]]",
    "at = \"1s\"",
    "heal = {}",
    "name = \"a\\nb\"",
];

const WORDS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "7",
    "1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1.5",
    "nan",
    "true",
    "1979-05-27",
    "\"\"",
    "\"none\"",
    "\"ok\"",
    "\"a\\nb\\u0000\"",
    "\"0s\"",
    "\"1ms\"",
    "\"-1.5s\"",
    "\"30d\"",
    "\"18446744073709551.615s\"",
    "\"\"\"",
    "[]",
    "{}",
];
