//! What a compute child is given by its file instead of a copy.

use crate::part::Part;
use crate::sealed::Sealed;

/// Sealed memory, or a part of a file.
#[derive(Clone, Debug)]
pub enum Given {
    /// It cannot change.
    Memory(Sealed),
    /// It may change: what is read of it is compared with its hash.
    Part(Part),
}

impl From<Sealed> for Given {
    fn from(memory: Sealed) -> Self {
        Self::Memory(memory)
    }
}

impl From<Part> for Given {
    fn from(part: Part) -> Self {
        Self::Part(part)
    }
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for Given {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Memory(memory) => memory.0.file(),
            Self::Part(part) => part.file.as_fd(),
        }
    }
}
