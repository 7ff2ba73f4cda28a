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
    use crate::sealed::map;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;

    pub(in crate::child) struct Input {
        socket: File,
        /// What came with bytes that were read, in order.
        files: VecDeque<OwnedFd>,
    }

    impl Input {
        pub(in crate::child) fn stdin() -> io::Result<Self> {
            Ok(Self {
                socket: own_stdin()?,
                files: VecDeque::new(),
            })
        }

        /// The memory that came with the command which was read just now.
        pub(in crate::child) fn memory(&mut self, len: u64) -> io::Result<Bytes> {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            Ok(Bytes::from_owner(map(self.file()?, len)?))
        }

        /// The file that came with it.
        pub(in crate::child) fn file(&mut self) -> io::Result<File> {
            let file = self.files.pop_front();
            let file = file.ok_or_else(|| io::Error::other("a segment without its file"))?;
            Ok(file.into())
        }
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // The system ends a read behind bytes that something comes with, so
            // one message is the most there is.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let came = recvmsg(&self.socket, &mut parts, &mut control, flags)?;
            if came.flags.contains(ReturnFlags::CTRUNC) {
                return Err(io::Error::other("no file can be opened for a segment"));
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = message {
                    self.files.extend(files);
                }
            }
            Ok(came.bytes)
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
