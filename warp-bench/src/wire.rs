//! What parent and child say to each other over pipes.

use std::io::{self, Read, Write};

/// An order to a child that is fed: one byte, and for a put the two lengths and the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Put the record that follows. Not answered.
    Put,
    /// Take a checkpoint; answered with a line when it is published.
    Checkpoint,
    /// Sync the log; answered with a line when it is on the disk.
    Sync,
    /// Answered with a line of three numbers: resident bytes, anonymous bytes, threads.
    Usage,
    /// No more orders. Not answered.
    End,
}

impl Order {
    const CODES: [(Order, u8); 5] = [
        (Order::Put, b'P'),
        (Order::Checkpoint, b'C'),
        (Order::Sync, b'S'),
        (Order::Usage, b'U'),
        (Order::End, b'E'),
    ];

    pub(crate) fn write(self, out: &mut impl Write) -> io::Result<()> {
        let code = Order::CODES.iter().find(|(order, _)| *order == self).map_or(0, |&(_, code)| code);
        out.write_all(&[code])
    }

    /// The next order. A pipe that ends between orders reads as [`Order::End`].
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Order> {
        let mut code = [0];
        match from.read_exact(&mut code) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Order::End),
            outcome => outcome?,
        }
        let known = Order::CODES.iter().find(|(_, known)| *known == code[0]);
        known.map(|&(order, _)| order).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Writes a put with its record.
///
/// # Errors
/// What the pipe answers.
pub(crate) fn write_put(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    Order::Put.write(out)?;
    for bytes in [key, value] {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        out.write_all(&len.to_le_bytes())?;
    }
    out.write_all(key)?;
    out.write_all(value)
}

/// Reads the record of a put, into buffers that are used again.
///
/// # Errors
/// What the pipe answers.
pub(crate) fn read_put(from: &mut impl Read, key: &mut Vec<u8>, value: &mut Vec<u8>) -> io::Result<()> {
    let mut lengths = [[0; 4]; 2];
    for length in &mut lengths {
        from.read_exact(length)?;
    }
    for (bytes, length) in [key, value].into_iter().zip(lengths) {
        bytes.resize(u32::from_le_bytes(length) as usize, 0);
        from.read_exact(bytes)?;
    }
    Ok(())
}

/// An acknowledged write of a child that is to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) thread: u64,
    pub(crate) step: u64,
    pub(crate) seq: u64,
}

impl Ack {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn to_bytes(self) -> [u8; Ack::BYTES] {
        let mut bytes = [0; Ack::BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip([self.thread, self.step, self.seq]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Ack::BYTES]) -> Ack {
        let number = |place: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[place * 8..][..8]);
            u64::from_le_bytes(number)
        };
        Ack { thread: number(0), step: number(1), seq: number(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_records_come_through() {
        let mut pipe = Vec::new();
        write_put(&mut pipe, b"key", b"value").unwrap();
        Order::Sync.write(&mut pipe).unwrap();
        let mut pipe = pipe.as_slice();
        let (mut key, mut value) = (vec![9; 9], Vec::new());
        assert_eq!(Order::read(&mut pipe).unwrap(), Order::Put);
        read_put(&mut pipe, &mut key, &mut value).unwrap();
        assert_eq!((key.as_slice(), value.as_slice()), (b"key".as_slice(), b"value".as_slice()));
        assert_eq!(Order::read(&mut pipe).unwrap(), Order::Sync);
        assert_eq!(Order::read(&mut pipe).unwrap(), Order::End);
        assert!(Order::read(&mut b"?".as_slice()).is_err());
    }

    #[test]
    fn acknowledgements_come_through() {
        let ack = Ack { thread: 1, step: u64::MAX, seq: 1 << 40 };
        assert_eq!(Ack::from_bytes(&ack.to_bytes()), ack);
    }
}
