//! What can be wrong with bytes, patches and stored blocks. No error holds content.

use std::fmt;

/// Why bytes are not the JSON they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    UnexpectedEnd,
    ExpectedValue,
    ExpectedObject,
    ExpectedArray,
    ExpectedString,
    InvalidString,
    InvalidNumber,
    TrailingBytes,
    TooDeep,
}

impl Kind {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::UnexpectedEnd => "unexpected end",
            Self::ExpectedValue => "a value was expected",
            Self::ExpectedObject => "an object was expected",
            Self::ExpectedArray => "an array was expected",
            Self::ExpectedString => "a string was expected",
            Self::InvalidString => "invalid string",
            Self::InvalidNumber => "invalid number",
            Self::TrailingBytes => "bytes after the value",
            Self::TooDeep => "nested deeper than 128",
        }
    }
}

/// Every failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not the JSON it should be, from this byte on.
    Codec { kind: Kind, index: usize },
    /// A JSON Patch that is malformed or does not fit.
    Patch { problem: &'static str, operation: usize, path: String },
    /// A stored block that is damaged, foreign or of a newer format.
    Corrupt { block: String, problem: String },
    /// There is no such record.
    OutOfRange,
    /// The records were left in the store.
    NotLoaded,
    /// A sealed body could not be opened; who holds the key keeps the reason.
    Opener,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn codec(kind: Kind, index: usize) -> Self {
        Self::Codec { kind, index }
    }

    pub(crate) fn corrupt(block: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Corrupt { block: block.into(), problem: problem.into() }
    }

    /// Of rows that hold another type or size than was written.
    #[must_use]
    pub fn wrong_kind() -> Self {
        Self::corrupt("a block", "a value of the wrong kind is stored")
    }

    /// The same failure of a patch, seen from so many bytes further on in its path.
    #[must_use]
    pub fn from_within(self, skipped: usize) -> Self {
        match self {
            Self::Patch { problem, operation, path } => {
                Self::Patch { problem, operation, path: path.get(skipped..).unwrap_or_default().to_owned() }
            }
            other => other,
        }
    }

    /// The same failure, met inside a stored block.
    #[must_use]
    pub fn inside(self, block: &str) -> Self {
        match self {
            Self::Corrupt { .. } | Self::NotLoaded | Self::Opener => self,
            other => Self::corrupt(block, other.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec { kind, index } => write!(f, "{} at byte {index}", kind.text()),
            Self::Patch { problem, operation, path } => write!(f, "operation {operation}: {problem} (path {path})"),
            Self::Corrupt { block, problem } => write!(f, "{block}: {problem}"),
            Self::OutOfRange => f.write_str("no such record"),
            Self::NotLoaded => f.write_str("not loaded"),
            Self::Opener => f.write_str("cannot be opened"),
        }
    }
}

impl std::error::Error for Error {}
