//! One instance of a guest and the calls of its ABI. What a guest answers is
//! checked here: garbage is a failure with a text, never a panic.

use super::failure::{failure, of_call};
use super::{Exports, Host, Inputs, Program, Sink};
use bytes::Bytes;
use manyhands_protocol::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;
use wasmtime::{
    Error, Extern, Global, Instance, Memory, ModuleExport, Store, StoreLimitsBuilder, TypedFunc,
};
use wasmtime::{WasmParams, WasmResults};

type Answer = i64;

/// A fresh instance: [`open`](Self::open) it first, then either
/// [`run`](Self::run) slices of one block in order and [`take`](Self::take) its
/// partial, or [`merge`](Self::merge), or [`finish`](Self::finish). After a
/// failure it is to be dropped.
pub struct Guest {
    store: Store<Host>,
    instance: Instance,
    /// Of which each instance uses a few: they are fetched when they are called.
    exports: Exports,
    memory: Memory,
    sentinel: Global,
    memory_limit: u64,
    alloc: TypedFunc<i32, i32>,
}

impl Guest {
    /// Instantiates a program; its start function runs, if it has one.
    ///
    /// # Errors
    /// When that traps, or when the machine has no room.
    pub fn new(
        program: &Program,
        inputs: Inputs,
        files: Arc<BTreeMap<String, Bytes>>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Failure> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(usize::try_from(program.memory_limit).unwrap_or(usize::MAX))
            .instances(1)
            .memories(1)
            .build();
        let host = Host {
            limits,
            inputs,
            files,
            sink,
            memory: None,
            panic: None,
        };
        let mut store = Store::new(program.pre.module().engine(), host);
        store.limiter(|host| &mut host.limits);
        let instance = match program.pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => {
                let panic = store.data_mut().panic.take();
                return Err(of_call(&error, false, program.memory_limit, panic));
            }
        };
        Ok(Self::of_instance(program, store, instance))
    }

    fn of_instance(program: &Program, mut store: Store<Host>, instance: Instance) -> Self {
        let exports = program.exports;
        let Some(Extern::Memory(memory)) = instance.get_module_export(&mut store, &exports.memory)
        else {
            unreachable!("admission has seen the memory");
        };
        let Some(Extern::Global(sentinel)) =
            instance.get_module_export(&mut store, &exports.sentinel)
        else {
            unreachable!("admission has added the sentinel");
        };
        store.data_mut().memory = Some(memory);
        Self {
            alloc: typed(&mut store, instance, &exports.alloc),
            instance,
            exports,
            memory,
            sentinel,
            memory_limit: program.memory_limit,
            store,
        }
    }

    /// Hands the parameters over; answers the guest's JSON of ABI.md.
    ///
    /// # Errors
    /// The guest's own text for bad parameters, or how it trapped.
    pub fn open(&mut self, params: &[u8]) -> Result<&[u8], Failure> {
        let (ptr, len) = self.argument(params)?;
        let open = self.export::<(i32, i32)>(self.exports.open);
        self.value("open", |store| open.call(store, (ptr, len)))
    }

    /// Runs the next `count` tasks of the block.
    ///
    /// # Errors
    /// As the guest fails.
    pub fn run(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        let run = self.export::<(i64, i64)>(self.exports.run);
        let slice = (first.cast_signed(), count.cast_signed());
        self.value("run", |store| from_a_page(|| run.call(store, slice)))
            .map(drop)
    }

    /// Ends the block; its partial, which stays in the guest's memory.
    ///
    /// # Errors
    /// As the guest fails.
    pub fn take(&mut self) -> Result<&[u8], Failure> {
        let take = self.export::<()>(self.exports.take);
        self.value("take", |store| take.call(store, ()))
    }

    /// The partial of two siblings, left before right.
    ///
    /// # Errors
    /// As the guest fails, and for a `concat` guest, which has no such export.
    pub fn merge(&mut self, left: &[u8], right: &[u8]) -> Result<&[u8], Failure> {
        let merge = self.exports.merge.ok_or_else(|| absent("merge"))?;
        let merge = self.export::<(i32, i32, i32, i32)>(merge);
        let (a, a_len) = self.argument(left)?;
        let (b, b_len) = self.argument(right)?;
        self.value("merge", |store| merge.call(store, (a, a_len, b, b_len)))
    }

    /// What the user sees of the root's partial.
    ///
    /// # Errors
    /// As the guest fails, and for a `concat` guest, which has no such export.
    pub fn finish(&mut self, partial: &[u8]) -> Result<&[u8], Failure> {
        let finish = self.exports.finish.ok_or_else(|| absent("finish"))?;
        let finish = self.export::<(i32, i32)>(finish);
        let (ptr, len) = self.argument(partial)?;
        self.value("finish", |store| finish.call(store, (ptr, len)))
    }

    /// One that answers as most do.
    fn export<P: WasmParams>(&mut self, export: ModuleExport) -> TypedFunc<P, Answer> {
        typed(&mut self.store, self.instance, &export)
    }

    /// Copies an argument into room that the guest gives.
    fn argument(&mut self, bytes: &[u8]) -> Result<(i32, i32), Failure> {
        let Ok(len) = i32::try_from(bytes.len()) else {
            let message = format!(
                "an argument of {} bytes is more than a guest can take",
                bytes.len()
            );
            return Err(failure(FailureKind::Memory, message));
        };
        let outcome = self.alloc.call(&mut self.store, len);
        let ptr = outcome.map_err(|error| self.failed(&error))?;
        let start = ptr.cast_unsigned() as usize;
        let room = self
            .memory
            .data_mut(&mut self.store)
            .get_mut(start..start + bytes.len());
        let Some(room) = room else {
            return Err(failure(
                FailureKind::Trap,
                format!("alloc({len}) answered {start:#x}, outside the guest's memory"),
            ));
        };
        room.copy_from_slice(bytes);
        Ok((ptr, len))
    }

    /// Calls an export and unpacks what it answers.
    fn value(
        &mut self,
        export: &'static str,
        call: impl FnOnce(&mut Store<Host>) -> Result<Answer, Error>,
    ) -> Result<&[u8], Failure> {
        let packed = match call(&mut self.store) {
            Ok(packed) => packed.cast_unsigned(),
            Err(error) => return Err(self.failed(&error)),
        };
        let host = self.store.data_mut();
        if let Some(line) = host.panic.take() {
            // It did not trap after all.
            host.sink.log(&line);
        }
        let (start, len) = ((packed >> 32) as usize, (packed & 0xffff_ffff) as usize);
        let garbage = |what: &str| {
            Err(failure(
                FailureKind::Trap,
                format!("{export} answered {what}"),
            ))
        };
        let Some(bytes) = self.memory.data(&self.store).get(start..start + len) else {
            return garbage(&format!(
                "{len} bytes at {start:#x}, outside the guest's memory"
            ));
        };
        match bytes {
            [] => garbage("no status byte"),
            [0, value @ ..] => Ok(value),
            [1, text @ ..] => match std::str::from_utf8(text) {
                Ok(text) => Err(failure(FailureKind::Error, text)),
                Err(_) => garbage("an error that is not UTF-8"),
            },
            [status, ..] => garbage(&format!("the unknown status {status}")),
        }
    }

    fn failed(&mut self, error: &Error) -> Failure {
        let out_of_memory = self.sentinel.get(&mut self.store).i32() != Some(0);
        let panic = self.store.data_mut().panic.take();
        of_call(error, out_of_memory, self.memory_limit, panic)
    }
}

fn absent(export: &str) -> Failure {
    failure(FailureKind::Trap, format!("a concat guest has no {export}"))
}

fn typed<P: WasmParams, R: WasmResults>(
    store: &mut Store<Host>,
    instance: Instance,
    export: &ModuleExport,
) -> TypedFunc<P, R> {
    let Some(Extern::Func(function)) = instance.get_module_export(&mut *store, export) else {
        unreachable!("admission has seen this function");
    };
    function
        .typed(store)
        .expect("admission has checked its type")
}

/// Room on the stack that begins where a page does.
#[repr(align(4096))]
struct Page(MaybeUninit<u8>);

/// Calls with a stack that lies the same way within a page whoever calls: a guest's
/// frames are on it, and by how they lie beside its memory a recursive guest (`nqueens`)
/// was up to 3 % faster or slower.
#[inline(never)]
fn from_a_page<T>(call: impl FnOnce() -> T) -> T {
    let mut page = Page(MaybeUninit::uninit());
    black_box(&mut page.0);
    let outcome = call();
    // It is there until now.
    black_box(&mut page.0);
    outcome
}
