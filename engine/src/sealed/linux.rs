//! Sealed memory as Linux has it: an anonymous file whose seals forbid every
//! change, mapped where it is read. Writing through the file and not through a
//! mapping costs no page fault.

use crate::open_files::Counted;
use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// With these nothing changes any more: neither bytes nor length, nor the seals.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    len: usize,
    counted: Counted,
}

impl Growing {
    pub(super) fn new() -> io::Result<Self> {
        let counted = Counted::new()?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("manyhands", flags)?.into();
        Ok(Self {
            file,
            len: 0,
            counted,
        })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len();
        Ok(())
    }

    pub(super) fn take(mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = vec![0; self.len];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn seal(self) -> Result<Sealed, (Self, io::Error)> {
        let sealed = fcntl_add_seals(&self.file, SEALS).map_err(io::Error::from);
        match sealed.and_then(|()| map(&self.file, self.len)) {
            Ok(mapping) => Ok(Sealed(Arc::new(Memory {
                mapping,
                file: self.file.into(),
                _counted: self.counted,
            }))),
            Err(error) => Err((self, error)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sealed(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    mapping: Mapping,
    file: OwnedFd,
    _counted: Counted,
}

impl Sealed {
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }

    pub(super) fn len(&self) -> usize {
        self.0.mapping.len
    }

    pub(super) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        self.0.mapping.as_ref()
    }
}

/// Sealed memory as it is read.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut std::ffi::c_void,
    len: usize,
}

// SAFETY: the memory is not written to by anyone, so any thread may read it, and
// give it back.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Maps the first `len` bytes of sealed memory; it stays when the file is closed.
pub(crate) fn map(file: impl AsFd, len: usize) -> io::Result<Mapping> {
    let found = fcntl_get_seals(&file)?;
    if !found.contains(SEALS) || (fstat(&file)?.st_size as u64) < len as u64 {
        return Err(io::Error::other(format!("no sealed memory of {len} bytes")));
    }
    if len == 0 {
        let start = std::ptr::null_mut();
        return Ok(Mapping { start, len });
    }
    // Shared, which the system has less to do for; some kernels (before 6.7) take that
    // for a mapping that may be written to later, and refuse it.
    // SAFETY: it is mapped where nothing else is.
    let map = |how| unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, how, &file, 0) };
    let start = map(MapFlags::SHARED).or_else(|_| map(MapFlags::PRIVATE))?;
    Ok(Mapping { start, len })
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: so much is mapped until the drop, and its seals, which `map` has
        // seen, forbid that it is written to or cut off.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: it was mapped with this length, and nobody has it any more.
            let unmapped = unsafe { munmap(self.start, self.len) };
            debug_assert!(unmapped.is_ok(), "{unmapped:?}");
        }
    }
}
