//! The parent's end of a child's standard input: on Linux a socket, by which
//! memory and files can be given; elsewhere a pipe, and there are none.

#[cfg(not(target_os = "linux"))]
pub(super) use pipe::{Stdin, open};
#[cfg(target_os = "linux")]
pub(super) use socket::{Stdin, open};

#[cfg(target_os = "linux")]
mod socket {
    use crate::given::Given;
    use crate::passing;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::Stdio;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::process::Child;

    pub(in crate::compute) struct Stdin(UnixStream);

    /// This end, and the child's.
    pub(in crate::compute) fn open() -> io::Result<(UnixStream, Stdio)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs).into()))
    }

    impl Stdin {
        pub(in crate::compute) fn of(ours: UnixStream, _child: &mut Child) -> Self {
            Self(ours)
        }

        pub(in crate::compute) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all(bytes).await
        }

        /// Writes a header, and gives the file with its first byte.
        pub(in crate::compute) async fn write_with(
            &mut self,
            header: &[u8],
            given: &Given,
        ) -> io::Result<()> {
            let sent = passing::send_with(&self.0, header, given.as_fd()).await?;
            self.0.write_all(&header[sent..]).await
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod pipe {
    use crate::given::Given;
    use std::io;
    use std::process::Stdio;
    use tokio::io::AsyncWriteExt;
    use tokio::process::{Child, ChildStdin};

    pub(in crate::compute) struct Stdin(ChildStdin);

    /// The child's end; this one is made with it.
    pub(in crate::compute) fn open() -> io::Result<((), Stdio)> {
        Ok(((), Stdio::piped()))
    }

    impl Stdin {
        pub(in crate::compute) fn of((): (), child: &mut Child) -> Self {
            Self(child.stdin.take().expect("piped"))
        }

        pub(in crate::compute) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all(bytes).await
        }

        pub(in crate::compute) async fn write_with(
            &mut self,
            _header: &[u8],
            given: &Given,
        ) -> io::Result<()> {
            match given {
                Given::Memory(memory) => memory.0.never(),
                Given::Part(_) => unreachable!("there is no way to make one here"),
            }
        }
    }
}
