//! The exports of ABI.md: arguments and answers in the guest's memory. wasm32 only.

use std::alloc::Layout;
use std::cell::UnsafeCell;

use crate::program::Program;
use crate::{Error, Result, host};

/// The first byte of an answer that is an error; its text follows.
const ERROR: u8 = 1;

/// The one instance of a guest's program, and the answer to the last call.
pub struct Guest<P> {
    state: UnsafeCell<State<P>>,
}

struct State<P> {
    program: Option<P>,
    /// Valid until the next call, which lets it go.
    answer: Vec<u8>,
}

// SAFETY: a guest has one thread (admission refuses shared memories), and no export calls another.
unsafe impl<P> Sync for Guest<P> {}

/// Room for an argument of `len` bytes; the next call takes ownership of it.
pub fn alloc(len: usize) -> *mut u8 {
    if len == 0 {
        return std::ptr::dangling_mut();
    }
    let layout = argument_layout(len);
    // SAFETY: the layout's size is not 0.
    let argument = unsafe { std::alloc::alloc(layout) };
    if argument.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    argument
}

fn argument_layout(len: usize) -> Layout {
    Layout::array::<u8>(len).expect("an argument is shorter than half of the memory")
}

/// Takes over an argument.
///
/// # Safety
/// `pointer` came from [`alloc`] with this `len` and was not given to a call before; all its bytes
/// were written.
unsafe fn argument(pointer: *mut u8, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: `alloc` used the global allocator with the layout of a vector of this capacity.
    unsafe { Vec::from_raw_parts(pointer, len, len) }
}

impl<P: Program> Guest<P> {
    /// A guest that is not open yet.
    #[expect(clippy::new_without_default, reason = "for a static")]
    pub const fn new() -> Self {
        Self {
            state: UnsafeCell::new(State {
                program: None,
                answer: Vec::new(),
            }),
        }
    }

    /// `open` of ABI.md.
    ///
    /// # Safety
    /// The arguments are those of a host that keeps to ABI.md; so for the other calls.
    pub unsafe fn open(&self, params: *mut u8, len: usize) -> i64 {
        report_panics();
        // SAFETY: the caller's.
        let params = unsafe { argument(params, len) };
        // SAFETY: one thread, and no other reference lives: see `Sync`.
        let state = unsafe { &mut *self.state.get() };
        let opened = P::open(&params).map(|(program, answer)| {
            state.program = Some(program);
            answer
        });
        state.give(opened)
    }

    /// `run` of ABI.md.
    ///
    /// # Safety
    /// See [`Guest::open`].
    pub unsafe fn run(&self, first: i64, count: i64) -> i64 {
        // SAFETY: one thread, and no other reference lives: see `Sync`.
        let state = unsafe { &mut *self.state.get() };
        let ran = state
            .program()
            .and_then(|program| program.run(first as u64, count as u64));
        // An empty answer allocates once only, however many slices there are.
        let mut answer = std::mem::take(&mut state.answer);
        answer.clear();
        answer.push(0);
        state.give(ran.map(|()| answer))
    }

    /// `take` of ABI.md.
    ///
    /// # Safety
    /// See [`Guest::open`].
    pub unsafe fn take(&self) -> i64 {
        // SAFETY: one thread, and no other reference lives: see `Sync`.
        let state = unsafe { &mut *self.state.get() };
        let partial = state.program().and_then(P::take);
        state.give(partial)
    }

    /// `merge` of ABI.md.
    ///
    /// # Safety
    /// See [`Guest::open`].
    pub unsafe fn merge(
        &self,
        left: *mut u8,
        left_len: usize,
        right: *mut u8,
        right_len: usize,
    ) -> i64 {
        // SAFETY: the caller's.
        let (left, right) = unsafe { (argument(left, left_len), argument(right, right_len)) };
        // SAFETY: one thread, and no other reference lives: see `Sync`.
        let state = unsafe { &mut *self.state.get() };
        let merged = state
            .program()
            .and_then(|program| program.merge(&left, &right));
        state.give(merged)
    }

    /// `finish` of ABI.md.
    ///
    /// # Safety
    /// See [`Guest::open`].
    pub unsafe fn finish(&self, partial: *mut u8, len: usize) -> i64 {
        // SAFETY: the caller's.
        let partial = unsafe { argument(partial, len) };
        // SAFETY: one thread, and no other reference lives: see `Sync`.
        let state = unsafe { &mut *self.state.get() };
        let result = state.program().and_then(|program| program.finish(&partial));
        state.give(result)
    }
}

impl<P> State<P> {
    fn program(&mut self) -> Result<&mut P> {
        self.program
            .as_mut()
            .ok_or_else(|| Error::new("the guest was not opened"))
    }

    /// Keeps the answer and gives the `bytes` of ABI.md.
    fn give(&mut self, answer: Result<Vec<u8>>) -> i64 {
        self.answer = answer.unwrap_or_else(|error| {
            let mut bytes = vec![ERROR];
            bytes.extend_from_slice(error.into_text().as_bytes());
            bytes
        });
        (self.answer.as_ptr() as i64) << 32 | self.answer.len() as i64
    }
}

/// Logs a panic's place and message before it traps: ABI.md says how hosts find them.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without text");
        let line = match panic.location() {
            Some(place) => format!("panicked at {place}: {message}"),
            None => format!("panicked: {message}"),
        };
        host::log_line(&line);
    }));
}
