//! What a guest may ask of its host: the imports of ABI.md, and what stands in for them natively.

use std::cell::RefCell;

thread_local! {
    /// Broadcast files read so far. An instance lives for one block, so nothing is ever let go.
    static FILES: RefCell<Vec<(String, &'static [u8])>> = const { RefCell::new(Vec::new()) };
}

/// Tells the host how much of the current task is done, 0 to 1. Advisory, and cheap enough to be
/// called every millisecond, not every microsecond.
pub fn progress(fraction: f64) {
    imports::progress(fraction);
}

/// Sends the author a line of text; [`log!`](crate::log!) formats one.
pub fn log_line(line: &str) {
    imports::log(line);
}

/// A broadcast file, given to the job by `--file NAME=PATH`; `None` if none has that name.
///
/// It is read once an instance and kept.
pub fn file(name: &str) -> Option<&'static [u8]> {
    FILES.with_borrow_mut(|files| {
        if let Some((_, bytes)) = files.iter().find(|(known, _)| known == name) {
            return Some(*bytes);
        }
        let bytes: &'static [u8] = imports::read_file(name)?.leak();
        files.push((name.to_owned(), bytes));
        Some(bytes)
    })
}

/// Lets another harness have other files.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn forget_files() {
    FILES.take();
}

/// Makes `buffer` the input of `task`.
pub(crate) fn read_input(task: u64, buffer: &mut Vec<u8>) {
    imports::read_input(task, buffer);
}

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "manyhands")]
    unsafe extern "C" {
        #[link_name = "log"]
        fn host_log(text: *const u8, len: usize);
        #[link_name = "progress"]
        safe fn host_progress(fraction: f64);
        #[link_name = "input_len"]
        safe fn host_input_len(task: i64) -> i64;
        #[link_name = "input_read"]
        fn host_input_read(task: i64, offset: i64, to: *mut u8, len: usize);
        #[link_name = "file_len"]
        fn host_file_len(name: *const u8, name_len: usize) -> i64;
        #[link_name = "file_read"]
        fn host_file_read(name: *const u8, name_len: usize, offset: i64, to: *mut u8, len: usize);
    }

    pub(super) fn progress(fraction: f64) {
        host_progress(fraction);
    }

    pub(super) fn log(line: &str) {
        // SAFETY: the host only reads the text, during the call.
        unsafe { host_log(line.as_ptr(), line.len()) }
    }

    pub(super) fn read_input(task: u64, buffer: &mut Vec<u8>) {
        let len = length(host_input_len(task as i64));
        buffer.clear();
        buffer.reserve(len);
        // SAFETY: the host writes exactly `len` bytes, all of them within what was reserved.
        unsafe {
            host_input_read(task as i64, 0, buffer.as_mut_ptr(), len);
            buffer.set_len(len);
        }
    }

    pub(super) fn read_file(name: &str) -> Option<Vec<u8>> {
        // SAFETY: the host only reads the name, during the call.
        let len = unsafe { host_file_len(name.as_ptr(), name.len()) };
        if len < 0 {
            return None;
        }
        let len = length(len);
        let mut bytes = Vec::with_capacity(len);
        // SAFETY: the host writes exactly `len` bytes, all of them within what was reserved.
        unsafe {
            host_file_read(name.as_ptr(), name.len(), 0, bytes.as_mut_ptr(), len);
            bytes.set_len(len);
        }
        Some(bytes)
    }

    fn length(len: i64) -> usize {
        usize::try_from(len).expect("the host's bytes fit into this memory")
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imports {
    pub(super) use crate::testing::host::{log, progress, read_file, read_input};
}
