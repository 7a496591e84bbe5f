//! GPT-2's way to write bytes as printable characters: vocabularies of byte-level models are stored in it.
//!
//! Printable Latin-1 bytes stand for themselves; the other 68 become U+0100, U+0101, ... in byte order (so a space is `Ġ`).

const fn plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const fn forward() -> [u16; 256] {
    let mut table = [0; 256];
    let (mut byte, mut next) = (0, 256);
    while byte < 256 {
        if plain(byte as u8) {
            table[byte] = byte as u16;
        } else {
            table[byte] = next;
            next += 1;
        }
        byte += 1;
    }
    table
}

const fn backward() -> [u16; 512] {
    let mut table = [u16::MAX; 512];
    let there = forward();
    let mut byte = 0;
    while byte < 256 {
        table[there[byte] as usize] = byte as u16;
        byte += 1;
    }
    table
}

static TO_CHAR: [u16; 256] = forward();
static TO_BYTE: [u16; 512] = backward();

/// The character that stands for a byte.
pub(crate) fn char_of(byte: u8) -> char {
    char::from_u32(u32::from(TO_CHAR[usize::from(byte)])).unwrap_or('\u{fffd}')
}

/// The byte that a character stands for.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    let byte = *TO_BYTE.get(c as usize)?;
    u8::try_from(byte).ok()
}

/// Writes bytes in the alphabet.
pub(crate) fn spell(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&b| char_of(b)));
}

/// Reads a text in the alphabet; a text with any other character stands for its own UTF-8 bytes.
pub(crate) fn read(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                out.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let mut spelled = String::new();
        let all: Vec<u8> = (0..=255).collect();
        spell(&all, &mut spelled);
        assert_eq!(spelled.chars().count(), 256);
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(0xad), '\u{143}');
        let mut back = Vec::new();
        read(&spelled, &mut back);
        assert_eq!(back, all);
    }
}
