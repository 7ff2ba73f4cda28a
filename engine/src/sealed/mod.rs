//! Memory that is filled once and sealed: from then on nobody can change it, this
//! process included, so that a compute child can be given it instead of a copy.
//! Only Linux has it; elsewhere, and where the system has none left, bytes lie in
//! ordinary memory and are copied.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
use elsewhere as system;

use bytes::Bytes;
use std::io;
#[cfg(target_os = "linux")]
pub(crate) use system::map;

/// Memory that is being filled, from its beginning on.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use manyhands_engine::sealed::Growing;
/// // Elsewhere than on Linux there is none.
/// if let Ok(mut growing) = Growing::new() {
///     growing.push(b"many ")?;
///     growing.push(b"hands")?;
///     let sealed = growing.seal().map_err(|(_, error)| error)?;
///     assert_eq!(sealed.bytes(), "many hands");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Growing(system::Growing);

impl Growing {
    /// Room for a blob; nothing of it is taken yet.
    ///
    /// # Errors
    /// Where there is no such memory, or when half of the files that this process
    /// may have open are [counted](crate::open_files): each is one.
    pub fn new() -> io::Result<Self> {
        system::Growing::new().map(Self)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the system has no memory left; [`take`](Self::take) then gives what was
    /// appended before.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.push(bytes)
    }

    /// What was appended, copied into ordinary memory.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn take(self) -> io::Result<Vec<u8>> {
        self.0.take()
    }

    /// Ends it: nothing can be changed any more.
    ///
    /// # Errors
    /// When the system refuses; with what there is, to be [taken](Self::take).
    pub fn seal(self) -> Result<Sealed, (Self, io::Error)> {
        let sealed = self.0.seal();
        sealed
            .map(Sealed)
            .map_err(|(growing, error)| (Self(growing), error))
    }
}

/// Sealed memory. Cheap to clone; it goes when the last clone and the last of its
/// [`bytes`](Self::bytes) go, here and in the children that it was given to.
#[derive(Clone, Debug)]
pub struct Sealed(pub(crate) system::Sealed);

impl Sealed {
    /// Its bytes, not copied.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.bytes()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::fs::{fcntl_get_seals, ftruncate};
    use rustix::io::{Errno, pwrite};
    use std::os::fd::AsFd;

    fn sealed(text: &[u8]) -> Sealed {
        let mut growing = Growing::new().unwrap();
        growing.push(text).unwrap();
        growing.seal().unwrap()
    }

    #[test]
    fn nobody_can_change_what_is_sealed() {
        let sealed = sealed(b"many hands");
        let file = sealed.0.file();
        assert_eq!(pwrite(file, b"x", 0), Err(Errno::PERM));
        assert_eq!(pwrite(file, b"x", 10), Err(Errno::PERM), "behind its end");
        assert_eq!(ftruncate(file, 4), Err(Errno::PERM));
        // What a child could do with it: open it anew, to write.
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let again = std::fs::File::options()
            .write(true)
            .open(format!("/proc/self/fd/{number}"));
        if let Ok(again) = again {
            assert_eq!(pwrite(&again, b"x", 0), Err(Errno::PERM));
        }
        assert_eq!(sealed.bytes(), "many hands");
    }

    #[test]
    fn only_what_is_sealed_is_mapped() {
        let ours = sealed(b"many hands");
        let mapped = map(ours.0.file(), 10).unwrap();
        assert_eq!(mapped.as_ref(), b"many hands");
        let long = map(ours.0.file(), 11);
        assert!(long.unwrap_err().to_string().contains("11 bytes"));
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        assert!(fcntl_get_seals(file.as_fd()).is_err());
        assert!(map(&file, 10).is_err(), "it could be cut off");
    }

    #[test]
    fn what_was_gathered_comes_back() {
        let mut growing = Growing::new().unwrap();
        growing.push(b"many ").unwrap();
        growing.push(b"hands").unwrap();
        assert_eq!(growing.take().unwrap(), b"many hands");
        assert_eq!(sealed(b"").bytes(), "");
    }
}
