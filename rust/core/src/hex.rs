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
    // Without a branch, so that it is compiled for many digits at once.
    let mut all = true;
    for (to, &[high, low]) in out.iter_mut().zip(pairs) {
        let [high, low] = [high, low].map(|byte| {
            let (number, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
            all &= number < 10 || letter < 6;
            if number < 10 { number } else { letter.wrapping_add(10) }
        });
        *to = high << 4 | low;
    }
    all.then_some(out)
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

    #[test]
    fn every_byte_is_a_digit_or_refused() {
        for byte in 0..=u8::MAX {
            let digit = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
            let value = digit.map(|digit| [u8::try_from(digit).unwrap()]);
            assert_eq!(decode::<1>(&[b'0', byte]), value);
            assert_eq!(decode::<1>(&[byte, b'0']), value.map(|[value]| [value << 4]));
        }
    }
}
