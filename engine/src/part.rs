//! Parts of files that a compute child reads itself: neither bytes nor memory pass
//! between the processes. A file may change, so that whoever reads it compares what
//! is there with the hash that it is known by.

use crate::open_files::Counted;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where a part lies, for who can open it.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<Path>,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub len: u64,
}

/// A part of a file that is open to be read. Cheap to clone.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use manyhands_engine::part::Part;
/// # let file = tempfile::tempfile()?;
/// # file.set_len(1 << 20)?;
/// let file = std::sync::Arc::new(file);
/// // Elsewhere than on Linux a child cannot be given files.
/// assert_eq!(Part::new(file, 0, 1 << 20).is_ok(), cfg!(target_os = "linux"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Part {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// A child has the file once more for each part.
    _counted: Arc<Counted>,
}

impl Part {
    /// `len` bytes of a file from `offset` on, which the system begins to read: a slot
    /// that comes to them is not to wait for a disk.
    ///
    /// # Errors
    /// Where a child cannot be given files, when it is no regular file or shorter, or
    /// when half of the files that this process may have open are
    /// [counted](crate::open_files).
    pub fn new(file: Arc<File>, offset: u64, len: u64) -> io::Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (data, end) = (file.metadata()?, offset.checked_add(len));
        if !data.is_file() || end.is_none_or(|end| end > data.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_ahead(&file, offset, len);
        Ok(Self {
            file,
            offset,
            len,
            _counted: Arc::new(Counted::new()?),
        })
    }
}

/// Of no matter where the system does not care for it, or has them in memory.
#[cfg(target_os = "linux")]
fn read_ahead(file: &File, offset: u64, len: u64) {
    let len = std::num::NonZeroU64::new(len);
    let _ = rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::WillNeed);
}

/// Nobody comes this far.
#[cfg(not(target_os = "linux"))]
fn read_ahead(_file: &File, _offset: u64, _len: u64) {}
