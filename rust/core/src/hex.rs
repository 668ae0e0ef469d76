//! Bytes as lower-case hexadecimal text.

/// Two digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

/// The bytes that 2n digits stand for; None for anything else.
#[must_use]
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (to, &[high, low]) in out.iter_mut().zip(pairs) {
        let digit = |byte| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        *to = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        assert_eq!(encode(&[0, 15, 255]), "000fff");
        assert_eq!(decode(b"000fff"), Some([0, 15, 255]));
        assert_eq!(decode::<3>(b"000ff"), None);
        assert_eq!(decode::<1>(b"0g"), None);
        assert_eq!(decode::<1>(b"0F"), None);
    }
}
