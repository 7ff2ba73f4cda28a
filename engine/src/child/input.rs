//! The child's standard input: commands, and on Linux, where it is a socket, the
//! memory and files that some of them come with.

use bytes::Bytes;
use std::io::{self, Read};

#[cfg(target_os = "linux")]
pub(super) use socket::Input;

#[cfg(not(target_os = "linux"))]
pub(super) use pipe::Input;

#[cfg(target_os = "linux")]
mod socket {
    use super::{Bytes, Read, io};
    use crate::child::output::own_stdin;
    use crate::passing::Receiver;
    use crate::sealed::map;
    use std::fs::File;

    pub(in crate::child) struct Input(Receiver<File>);

    impl Input {
        pub(in crate::child) fn stdin() -> io::Result<Self> {
            Ok(Self(Receiver::new(own_stdin()?)))
        }

        /// The memory that came with the command which was read just now.
        pub(in crate::child) fn memory(&mut self, len: u64) -> io::Result<Bytes> {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            Ok(Bytes::from_owner(map(self.file()?, len)?))
        }

        /// The file that came with it.
        pub(in crate::child) fn file(&mut self) -> io::Result<File> {
            self.0.file()
        }
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod pipe {
    use super::{Bytes, Read, io};
    use crate::child::output::own_stdin;
    use std::fs::File;

    pub(in crate::child) struct Input(File);

    impl Input {
        pub(in crate::child) fn stdin() -> io::Result<Self> {
            own_stdin().map(Self)
        }

        /// The parent has none to send here.
        pub(in crate::child) fn memory(&mut self, _len: u64) -> io::Result<Bytes> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// As above.
        pub(in crate::child) fn file(&mut self) -> io::Result<File> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
}
