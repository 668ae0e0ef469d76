//! The codec, patches and session log of `swisper_ctx`, without Python.
#![forbid(unsafe_code)]

pub mod align;
pub mod body;
pub mod checkpoint;
mod chunk;
pub mod compact;
pub mod compare;
pub mod delta;
pub mod diff;
pub mod edits;
pub mod envelope;
pub mod equal;
pub mod error;
pub mod frame;
pub mod groups;
pub mod head;
pub mod hex;
pub mod json;
pub mod list;
pub mod lru;
mod nearest;
pub mod number;
pub mod open;
pub mod operations;
pub mod patch;
pub mod pointer;
pub mod rebase;
pub mod rows;
pub mod salvage;
pub mod segment;
pub mod segments;
pub mod state;
mod tail;
pub mod text;
mod touch;
pub mod tree;
pub mod write;
