//! What the targets share: JSON that every reader understands alike.

use std::collections::HashSet;

use swisper_core::error::Result;
use swisper_core::json::{elements, members, slice};
use swisper_core::{compact, text, write};

/// Whether this is JSON without white space in which no key stands twice.
#[must_use]
pub fn is_plain(src: &[u8]) -> bool {
    compact::compact(src).is_ok_and(|text| text.len() == src.len()) && has_plain_keys(src).unwrap_or(false)
}

fn has_plain_keys(src: &[u8]) -> Result<bool> {
    let mut keys = HashSet::new();
    if src.first() == Some(&b'{') {
        for found in members(src, 0)? {
            let (key, value) = found?;
            if !keys.insert(text::unescape(slice(src, key)?)?) || !has_plain_keys(slice(src, value)?)? {
                return Ok(false);
            }
        }
    } else if src.first() == Some(&b'[') {
        for found in elements(src, 0)? {
            if !has_plain_keys(slice(src, found?)?)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The same JSON with every string taken apart and written anew.
pub fn rewritten(src: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut separator: &[u8] = b"";
    match src.first() {
        Some(b'{') => {
            out.push(b'{');
            for found in members(src, 0)? {
                let (key, value) = found?;
                out.extend_from_slice(separator);
                write::string(out, &text::unescape(slice(src, key)?)?);
                out.push(b':');
                rewritten(slice(src, value)?, out)?;
                separator = b",";
            }
            out.push(b'}');
        }
        Some(b'[') => {
            out.push(b'[');
            for found in elements(src, 0)? {
                out.extend_from_slice(separator);
                rewritten(slice(src, found?)?, out)?;
                separator = b",";
            }
            out.push(b']');
        }
        Some(b'"') => write::string(out, &text::unescape(src)?),
        _ => out.extend_from_slice(src),
    }
    Ok(())
}
