//! Open files that pass from one process to another by a Unix socket, each with the
//! first byte of some message.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sends the first bytes of a message, and the file with them. Gives their number: the
/// rest is to be sent as usual. Of what fails nothing was sent.
pub(crate) async fn send_with(
    socket: &UnixStream,
    message: &[u8],
    file: BorrowedFd<'_>,
) -> io::Result<usize> {
    let files = [file];
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pushed = control.push(SendAncillaryMessage::ScmRights(&files));
        assert!(pushed, "there is space for one file");
        let parts = [IoSlice::new(message)];
        let flags = SendFlags::NOSIGNAL;
        Ok(sendmsg(socket, &parts, &mut control, flags)?)
    };
    socket.async_io(Interest::WRITABLE, send).await
}

/// Reads from a socket, and keeps the files that come with what is read.
pub(crate) struct Receiver<S> {
    socket: S,
    /// What came with bytes that were read, in order.
    files: VecDeque<OwnedFd>,
}

impl<S: AsFd> Receiver<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            files: VecDeque::new(),
        }
    }

    /// Files that came and were not taken.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The first file that came and was not taken.
    pub(crate) fn file(&mut self) -> io::Result<File> {
        let file = self.files.pop_front();
        let file = file.ok_or_else(|| io::Error::other("a message without its file"))?;
        Ok(file.into())
    }
}

impl<S: AsFd> Read for Receiver<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The system ends a read behind bytes that something comes with, so one file is
        // the most there is.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let came = recvmsg(&self.socket, &mut parts, &mut control, flags)?;
        if came.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("no more files can be opened"));
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        Ok(came.bytes)
    }
}
