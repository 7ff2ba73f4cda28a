//! The child's own ends of its pipes. Whatever else writes to standard output
//! would break the frames, so both are taken as files, past std's buffers.

use super::wire::{Report, encode_header};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// A bulk below this is copied behind its header, to be one write.
const SMALL: usize = 16 << 10;

/// Standard output, shared by all slots: a report is written as a whole, and
/// by the slot itself, so that a partial goes from the guest's memory to the
/// pipe.
pub(super) struct Output {
    pipe: Mutex<Pipe>,
}

struct Pipe {
    file: File,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn stdout() -> io::Result<Self> {
        let pipe = Pipe {
            file: own_stdout()?,
            buffer: Vec::new(),
        };
        Ok(Self {
            pipe: Mutex::new(pipe),
        })
    }

    pub(super) fn report(&self, report: &Report) {
        self.report_with(report, &[]);
    }

    /// Writes a report and its bulk. Without a parent to read it, the process ends.
    pub(super) fn report_with(&self, report: &Report, bulk: &[u8]) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.write(report, bulk).is_err() {
            std::process::exit(0);
        }
    }
}

impl Pipe {
    fn write(&mut self, report: &Report, bulk: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        encode_header(report, bulk.len(), &mut self.buffer);
        if bulk.len() <= SMALL {
            self.buffer.extend_from_slice(bulk);
            return self.file.write_all(&self.buffer);
        }
        self.file.write_all(&self.buffer)?;
        self.file.write_all(bulk)
    }
}

#[cfg(unix)]
pub(super) fn own_stdin() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(unix)]
fn own_stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
pub(super) fn own_stdin() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn own_stdout() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}
