//! Fixed-width lines of text: how they are written and read.

/// Appends `number` in lower-case hexadecimal, with as many digits as asked for.
pub(crate) fn hex(out: &mut Vec<u8>, number: u64, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * digit) & 0xf) as usize]);
    }
}

/// Reads a line from its start.
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Cursor<'a> {
        Cursor(line)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Steps over exactly these bytes.
    pub(crate) fn expect(&mut self, bytes: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(bytes)?;
        Some(())
    }

    /// A number of exactly so many lower-case hexadecimal digits, at most 16.
    pub(crate) fn hex(&mut self, digits: usize) -> Option<u64> {
        let mut number = 0;
        for byte in self.take(digits)? {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            number = number << 4 | u64::from(digit);
        }
        Some(number)
    }

    /// As [`Cursor::hex`], for at most 8 digits.
    pub(crate) fn hex32(&mut self, digits: usize) -> Option<u32> {
        u32::try_from(self.hex(digits)?).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
