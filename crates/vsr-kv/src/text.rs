//! Operations and answers as text, for shells and stories.
//!
//! | line | operation |
//! | --- | --- |
//! | `get KEY` | [`Operation::Get`] |
//! | `put KEY VALUE` | [`Operation::Put`] |
//! | `del KEY`, `delete KEY` | [`Operation::Delete`] |
//! | `cas KEY OLD NEW` | [`Operation::Cas`]; a bare `-` for OLD: the key must not be there |
//! | `append KEY VALUE` | [`Operation::Append`] |
//! | `incr KEY [BY]` | [`Operation::Increment`], by 1 unless told otherwise |
//! | `range PREFIX [LIMIT] [after KEY]` | [`Operation::Range`], 100 pairs unless told otherwise |
//! | `txn OPERATION ; OPERATION ...` | [`Operation::Transaction`] |
//!
//! Words are parted by spaces. A word with other bytes is written in double quotes, with `\"`, `\\`,
//! `\n`, `\r`, `\t` and `\xHH` for what cannot be written plainly; `""` is the empty word, as in
//! `range ""`. What is displayed reads back as the same operation.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::answer::Answer;
use crate::operation::Operation;

/// How many pairs `range` asks for unless it is told otherwise: a screenful or two.
pub const RANGE_LIMIT: u32 = 100;

/// How an absent value is displayed.
const NONE: &str = "(none)";

/// Why a line is no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The line is empty.
    Empty,
    /// The first word is no operation's name.
    UnknownVerb(String),
    /// Too few or too many words: how it is written.
    Usage(&'static str),
    /// This word should be a number.
    NotANumber(String),
    /// A word in quotes does not end.
    Unterminated,
    /// An escape that there is not.
    Escape(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no operation: try `put KEY VALUE` or `get KEY`"),
            Self::UnknownVerb(verb) => write!(
                f,
                "unknown operation `{verb}`: there are get, put, del, cas, append, incr, range, txn"
            ),
            Self::Usage(usage) => {
                write!(f, "usage: {usage} (put words with spaces in double quotes)")
            }
            Self::NotANumber(word) => write!(f, "`{word}` is not a number in range"),
            Self::Unterminated => f.write_str("a double quote is missing at the end of a word"),
            Self::Escape(escape) => {
                write!(f, "unknown escape `{escape}`: there are \\\" \\\\ \\n \\r \\t and \\xHH")
            }
        }
    }
}

impl core::error::Error for ParseError {}

/// Reads an operation.
///
/// # Errors
/// [`ParseError`] says how to write it. Limits are checked when it is encoded.
pub fn parse(line: &str) -> Result<Operation, ParseError> {
    operation(&words(line)?)
}

fn operation(words: &[Word]) -> Result<Operation, ParseError> {
    let (verb, arguments) = words.split_first().ok_or(ParseError::Empty)?;
    let verb = verb.text();
    match (verb.as_str(), arguments) {
        ("get", [key]) => Ok(Operation::Get { key: key.bytes() }),
        ("get", _) => Err(ParseError::Usage("get KEY")),
        ("put", [key, value]) => Ok(Operation::Put { key: key.bytes(), value: value.bytes() }),
        ("put", _) => Err(ParseError::Usage("put KEY VALUE")),
        ("del" | "delete", [key]) => Ok(Operation::Delete { key: key.bytes() }),
        ("del" | "delete", _) => Err(ParseError::Usage("del KEY")),
        ("cas", [key, expect, value]) => Ok(Operation::Cas {
            key: key.bytes(),
            expect: (!expect.is_bare("-")).then(|| expect.bytes()),
            value: value.bytes(),
        }),
        ("cas", _) => Err(ParseError::Usage(
            "cas KEY OLD NEW, with - for OLD where the key must not be there",
        )),
        ("append", [key, value]) => {
            Ok(Operation::Append { key: key.bytes(), value: value.bytes() })
        }
        ("append", _) => Err(ParseError::Usage("append KEY VALUE")),
        ("incr", [key]) => Ok(Operation::Increment { key: key.bytes(), by: 1 }),
        ("incr", [key, by]) => Ok(Operation::Increment { key: key.bytes(), by: by.number()? }),
        ("incr", _) => Err(ParseError::Usage("incr KEY [BY]")),
        ("range", arguments) => range(arguments),
        ("txn", arguments) => arguments
            .split(|word| word.is_bare(";"))
            .map(operation)
            .collect::<Result<_, _>>()
            .map(Operation::Transaction),
        (_, _) => Err(ParseError::UnknownVerb(verb)),
    }
}

fn range(arguments: &[Word]) -> Result<Operation, ParseError> {
    let (rest, after) = match arguments {
        [rest @ .., word, key] if word.is_bare("after") && !rest.is_empty() => {
            (rest, Some(key.bytes()))
        }
        rest => (rest, None),
    };
    let (prefix, limit) = match rest {
        [prefix] => (prefix, RANGE_LIMIT),
        [prefix, limit] => (prefix, limit.number()?),
        _ => return Err(ParseError::Usage("range PREFIX [LIMIT] [after KEY]")),
    };
    Ok(Operation::Range { prefix: prefix.bytes(), after, limit })
}

/// A word of a line; a bare one may be punctuation, a quoted one never is.
struct Word {
    content: BytesMut,
    quoted: bool,
}

impl Word {
    fn bytes(&self) -> Bytes {
        self.content.clone().freeze()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    fn is_bare(&self, text: &str) -> bool {
        !self.quoted && self.content == text.as_bytes()
    }

    fn number<N: std::str::FromStr>(&self) -> Result<N, ParseError> {
        let text = self.text();
        text.parse().map_err(|_| ParseError::NotANumber(text))
    }
}

fn words(line: &str) -> Result<Vec<Word>, ParseError> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted)?,
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let word = Word { content: word.as_bytes().into(), quoted: false };
                (word, after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Reads a word after its opening quote.
fn quoted_word(text: &str) -> Result<(Word, &str), ParseError> {
    let mut content = BytesMut::new();
    let mut rest = text;
    loop {
        let plain = rest.find(['"', '\\']).ok_or(ParseError::Unterminated)?;
        content.put_slice(&rest.as_bytes()[..plain]);
        rest = &rest[plain..];
        if let Some(after) = rest.strip_prefix('"') {
            let word = Word { content, quoted: true };
            return Ok((word, after));
        }
        let (byte, length) = escape(rest)?;
        content.put_u8(byte);
        rest = &rest[length..];
    }
}

/// Reads the escape that `text` begins with: the byte it stands for, and its length.
fn escape(text: &str) -> Result<(u8, usize), ParseError> {
    let bytes = text.as_bytes();
    let unknown = |length: usize| {
        let shown = text.chars().take(length).collect();
        Err(ParseError::Escape(shown))
    };
    match bytes.get(1) {
        Some(b'"') => Ok((b'"', 2)),
        Some(b'\\') => Ok((b'\\', 2)),
        Some(b'n') => Ok((b'\n', 2)),
        Some(b'r') => Ok((b'\r', 2)),
        Some(b't') => Ok((b'\t', 2)),
        Some(b'x') => match bytes.get(2..4).map(hex_byte) {
            Some(Some(byte)) => Ok((byte, 4)),
            Some(None) | None => unknown(4),
        },
        Some(_) => unknown(2),
        None => Err(ParseError::Unterminated),
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get { key } => write!(f, "get {}", word(key)),
            Self::Put { key, value } => write!(f, "put {} {}", word(key), word(value)),
            Self::Delete { key } => write!(f, "del {}", word(key)),
            Self::Cas { key, expect, value } => {
                write!(f, "cas {} ", word(key))?;
                match expect {
                    Some(expect) => word(expect).fmt(f)?,
                    None => f.write_str("-")?,
                }
                write!(f, " {}", word(value))
            }
            Self::Append { key, value } => write!(f, "append {} {}", word(key), word(value)),
            Self::Increment { key, by: 1 } => write!(f, "incr {}", word(key)),
            Self::Increment { key, by } => write!(f, "incr {} {by}", word(key)),
            Self::Range { prefix, after, limit } => {
                write!(f, "range {}", word(prefix))?;
                if *limit != RANGE_LIMIT {
                    write!(f, " {limit}")?;
                }
                match after {
                    Some(after) => write!(f, " after {}", word(after)),
                    None => Ok(()),
                }
            }
            Self::Transaction(steps) => {
                f.write_str("txn")?;
                for (position, step) in steps.iter().enumerate() {
                    let separator = if position == 0 { "" } else { " ;" };
                    write!(f, "{separator} {step}")?;
                }
                Ok(())
            }
        }
    }
}

/// An answer on as many lines as it has parts: `ok`, the bare value, `true`, a number; a range has a
/// key, a tab and a value on each line, and a last line `(more)` where there are more. A value that
/// is not plain text comes in quotes, as words do.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Value(Some(value)) => line(value).fmt(f),
            Self::Value(None) => f.write_str(NONE),
            Self::Bool(done) => done.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Pairs { pairs, more } => {
                for (position, (key, value)) in pairs.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}\t{}", line(key), line(value))?;
                }
                match (more, pairs.is_empty()) {
                    (true, true) => f.write_str("(more)"),
                    (true, false) => f.write_str("\n(more)"),
                    (false, _) => Ok(()),
                }
            }
            Self::Results(results) => {
                for (position, result) in results.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "\n" };
                    write!(f, "{separator}{result}")?;
                }
                Ok(())
            }
            Self::Aborted { step, failure } => {
                write!(f, "aborted at operation {}: {failure}", step + 1)
            }
            Self::Failed(failure) => write!(f, "failed: {failure}"),
        }
    }
}

/// Bytes as text, in quotes where they cannot be written plainly.
struct Quoted<'a> {
    bytes: &'a [u8],
    plain: bool,
}

/// Bytes as a word of a line that reads back as the same bytes.
fn word(bytes: &[u8]) -> Quoted<'_> {
    let plain = str::from_utf8(bytes).is_ok_and(|text| {
        let special = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\');
        !text.is_empty() && !text.contains(special) && !matches!(text, "-" | ";" | "after")
    });
    Quoted { bytes, plain }
}

/// Bytes as a line of an answer.
fn line(bytes: &[u8]) -> Quoted<'_> {
    let plain = str::from_utf8(bytes).is_ok_and(|text| {
        !text.contains(char::is_control) && !text.starts_with('"') && text != NONE
    });
    Quoted { bytes, plain }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain {
            return f.write_str(str::from_utf8(self.bytes).map_err(|_| fmt::Error)?);
        }
        f.write_str("\"")?;
        for chunk in self.bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                    c if c.is_control() => escape_all(c.encode_utf8(&mut [0; 4]).as_bytes(), f)?,
                    c => write!(f, "{c}")?,
                }
            }
            escape_all(chunk.invalid(), f)?;
        }
        f.write_str("\"")
    }
}

fn escape_all(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}
