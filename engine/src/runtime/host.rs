//! What a guest may import, and the state behind it. A guest that asks for what
//! it may not have traps with a reason; nothing here panics at its request.

use super::Inputs;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::{Caller, Extern, Linker, Memory, Result, StoreLimits};

/// A line longer than this is cut, in bytes.
const MAX_LINE: usize = 4096;

/// How a panic handler begins its line, by ABI.md.
const PANIC: &str = "panicked at ";

/// Where a guest's lines and progress go.
pub trait Sink: Send + Sync {
    /// A line for the author. Limiting their rate is up to the sink.
    fn log(&self, line: &str);
    /// The fraction of the current task that is done, 0 to 1.
    fn progress(&self, fraction: f64);
}

/// Drops all.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Sink for Silent {
    fn log(&self, _line: &str) {}
    fn progress(&self, _fraction: f64) {}
}

/// The state of one guest's store.
pub(crate) struct Host {
    pub(super) limits: StoreLimits,
    pub(super) inputs: Inputs,
    pub(super) files: Arc<BTreeMap<String, Bytes>>,
    pub(super) sink: Arc<dyn Sink>,
    /// Known once the guest is instantiated.
    pub(super) memory: Option<Memory>,
    /// The current call's last line that looks like a panic handler wrote it:
    /// a line for the author as any other, unless the call traps.
    pub(super) panic: Option<String>,
}

/// What a guest asked of the host and may not.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostFault {
    #[error("{import}: a range of {len} bytes at {ptr:#x} is outside the guest's memory")]
    Memory {
        import: &'static str,
        ptr: u32,
        len: u32,
    },
    #[error("{import}: task {task} is outside the block that runs")]
    Task { import: &'static str, task: i64 },
    #[error("{import}: {len} bytes from offset {offset} are outside its {has} bytes")]
    Range {
        import: &'static str,
        offset: i64,
        len: u32,
        has: usize,
    },
    #[error("{import}: there is no broadcast file {name:?}")]
    File { import: &'static str, name: String },
}

/// Defines the imports of ABI.md.
pub(super) fn define(linker: &mut Linker<Host>) -> Result<()> {
    const NAMESPACE: &str = "manyhands";
    linker.func_wrap(NAMESPACE, "log", log)?;
    linker.func_wrap(
        NAMESPACE,
        "progress",
        |caller: Caller<'_, Host>, fraction: f64| {
            // A comparison with NaN is false: it becomes 0.
            let fraction = if fraction > 0.0 {
                fraction.min(1.0)
            } else {
                0.0
            };
            caller.data().sink.progress(fraction);
        },
    )?;
    linker.func_wrap(
        NAMESPACE,
        "input_len",
        |caller: Caller<'_, Host>, task: i64| {
            let input = input("input_len", caller.data(), task)?;
            Ok(input.len() as i64)
        },
    )?;
    linker.func_wrap(NAMESPACE, "input_read", input_read)?;
    linker.func_wrap(NAMESPACE, "file_len", file_len)?;
    linker.func_wrap(NAMESPACE, "file_read", file_read)?;
    Ok(())
}

fn log(mut caller: Caller<'_, Host>, ptr: i32, len: i32) -> Result<()> {
    let (memory, host) = memory(&mut caller)?;
    let text = &memory[range("log", memory, ptr, len)?];
    let line = String::from_utf8_lossy(&text[..text.len().min(MAX_LINE)]);
    if !line.starts_with(PANIC) {
        host.sink.log(&line);
    } else if let Some(before) = host.panic.replace(line.into_owned()) {
        host.sink.log(&before);
    }
    Ok(())
}

fn input_read(
    mut caller: Caller<'_, Host>,
    task: i64,
    offset: i64,
    ptr: i32,
    len: i32,
) -> Result<()> {
    const IMPORT: &str = "input_read";
    let (memory, host) = memory(&mut caller)?;
    let to = range(IMPORT, memory, ptr, len)?;
    let from = part(IMPORT, input(IMPORT, host, task)?, offset, len)?;
    memory[to].copy_from_slice(from);
    Ok(())
}

fn file_len(mut caller: Caller<'_, Host>, name_ptr: i32, name_len: i32) -> Result<i64> {
    let (memory, host) = memory(&mut caller)?;
    let name = &memory[range("file_len", memory, name_ptr, name_len)?];
    Ok(file(host, name).map_or(-1, |bytes| bytes.len() as i64))
}

fn file_read(
    mut caller: Caller<'_, Host>,
    name_ptr: i32,
    name_len: i32,
    offset: i64,
    ptr: i32,
    len: i32,
) -> Result<()> {
    const IMPORT: &str = "file_read";
    let (memory, host) = memory(&mut caller)?;
    let name = &memory[range(IMPORT, memory, name_ptr, name_len)?];
    let Some(bytes) = file(host, name) else {
        let name = String::from_utf8_lossy(&name[..name.len().min(MAX_LINE)]).into_owned();
        return Err(HostFault::File {
            import: IMPORT,
            name,
        }
        .into());
    };
    let to = range(IMPORT, memory, ptr, len)?;
    memory[to].copy_from_slice(part(IMPORT, bytes, offset, len)?);
    Ok(())
}

fn memory<'a>(caller: &'a mut Caller<'_, Host>) -> Result<(&'a mut [u8], &'a mut Host)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // A start function runs before the instance is known.
        None => match caller.get_export("memory") {
            Some(Extern::Memory(memory)) => memory,
            _ => unreachable!("admission has seen the memory"),
        },
    };
    Ok(memory.data_and_store_mut(caller))
}

fn range(
    import: &'static str,
    memory: &[u8],
    ptr: i32,
    len: i32,
) -> Result<std::ops::Range<usize>, HostFault> {
    let (ptr, len) = (ptr.cast_unsigned(), len.cast_unsigned());
    let range = ptr as usize..ptr as usize + len as usize;
    if range.end > memory.len() {
        return Err(HostFault::Memory { import, ptr, len });
    }
    Ok(range)
}

fn part<'a>(
    import: &'static str,
    bytes: &'a [u8],
    offset: i64,
    len: i32,
) -> Result<&'a [u8], HostFault> {
    let len = len.cast_unsigned();
    let start = usize::try_from(offset).ok();
    let part = start.and_then(|start| bytes.get(start..start.checked_add(len as usize)?));
    part.ok_or(HostFault::Range {
        import,
        offset,
        len,
        has: bytes.len(),
    })
}

fn input<'a>(import: &'static str, host: &'a Host, task: i64) -> Result<&'a [u8], HostFault> {
    let found = u64::try_from(task)
        .ok()
        .and_then(|task| host.inputs.get(task));
    found.ok_or(HostFault::Task { import, task })
}

fn file<'a>(host: &'a Host, name: &[u8]) -> Option<&'a Bytes> {
    host.files.get(std::str::from_utf8(name).ok()?)
}
