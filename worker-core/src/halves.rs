//! The two partials of a merge that the coordinator asks for, while they come.

use bytes::{Bytes, BytesMut};

/// What has come of two partials, the right one following the left. Memory
/// grows with the bytes that came, not with the lengths that were declared.
#[derive(Debug)]
pub(crate) struct Halves {
    left: u64,
    total: u64,
    came: BytesMut,
}

impl Halves {
    /// Nothing yet of `left` and `right` bytes.
    pub(crate) fn new(left: u64, right: u64) -> Self {
        Self {
            left,
            total: left + right,
            came: BytesMut::new(),
        }
    }

    /// Takes the next piece in; whether it is one.
    pub(crate) fn push(&mut self, offset: u64, total: u64, piece: &[u8]) -> bool {
        let follows = offset == self.came.len() as u64 && total == self.total;
        let fits = self.came.len() as u64 + piece.len() as u64 <= self.total;
        if follows && fits {
            self.came.extend_from_slice(piece);
        }
        follows && fits
    }

    /// Whether both are here.
    pub(crate) fn is_whole(&self) -> bool {
        self.came.len() as u64 == self.total
    }

    /// Left and right, of halves that are whole.
    pub(crate) fn split(self) -> (Bytes, Bytes) {
        assert!(self.is_whole(), "halves that have not come");
        let mut left = self.came.freeze();
        let right = left.split_off(self.left as usize);
        (left, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order_and_are_cut_at_the_middle() {
        let mut halves = Halves::new(3, 4);
        assert!(!halves.push(1, 7, b"b"), "a gap");
        assert!(!halves.push(0, 8, b"a"), "another length");
        assert!(halves.push(0, 7, b"ab"));
        assert!(!halves.push(0, 7, b"ab"), "twice");
        assert!(!halves.push(2, 7, b"cdefgh"), "too long");
        assert!(halves.push(2, 7, b"cdef"));
        assert!(!halves.is_whole());
        assert!(halves.push(6, 7, b"g"));
        let (left, right) = halves.split();
        assert_eq!((&left[..], &right[..]), (&b"abc"[..], &b"defg"[..]));
    }
}
