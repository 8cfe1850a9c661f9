//! Bytes as hexadecimal text.

use std::fmt::Write as _;

/// `bytes` in lower-case hexadecimal, two digits per byte, as hashes are written into files.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[0, 10, 0xff]), "000aff");
        assert_eq!(hex(&[]), "");
    }
}
