//! Parts of files that a compute child reads itself: neither bytes nor memory pass
//! between the processes. A file may change, so that whoever reads it compares what
//! is there with the hash that it is known by.

use crate::open_files::Counted;
use std::fs::File;
use std::io;
use std::sync::Arc;

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
    /// `len` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// Where a child cannot be given files, when the file is shorter, or when half of
    /// the files that this process may have open are [counted](crate::open_files).
    pub fn new(file: Arc<File>, offset: u64, len: u64) -> io::Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > file.metadata().map_or(0, |data| data.len())) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self {
            file,
            offset,
            len,
            _counted: Arc::new(Counted::new()?),
        })
    }
}
