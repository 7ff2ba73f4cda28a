//! Writes the job's limits into a module, section by section. What does not
//! change is copied as it is, so that a module's bytes stay its author's.

use super::shape::Shape;
use super::{OOM_SENTINEL, PAGE, Refusal};
use std::borrow::Cow;
use std::ops::Range;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, ExportSection, Function, GlobalSection,
    GlobalType, Instruction, MemorySection, MemoryType, Module, RawSection, SectionId, TypeSection,
    ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Pages that an instance has beyond those that its module asks for, so that the first
/// it grows by are there: to grow a memory, and to shrink it for the next instance, each
/// changes what all threads of a process may touch, and takes longer than all else that
/// a fresh instance costs.
const READY: u64 = 16;

/// Globals that admission adds: the sentinel, and how many pages the guest has.
const GLOBALS: u32 = 2;

/// What admission adds to a module, or has added before: indices, and of the memory the
/// pages that the author's module asks for.
struct Added {
    /// Whether this pass adds it.
    now: bool,
    ty: u32,
    grow: u32,
    sentinel: u32,
    pages: u32,
    initial: u64,
}

/// The module as it is shipped: at most `pages` of memory, some of them at once,
/// `memory.grow` that traps, no custom sections but `manyhands` and `name`.
pub(super) fn rewrite(wasm: &[u8], shape: &Shape, pages: u64) -> Result<Vec<u8>, Refusal> {
    let added = match shape.sentinel {
        None => Added {
            now: true,
            ty: shape.types,
            grow: shape.functions,
            sentinel: shape.globals,
            pages: shape.globals + 1,
            initial: shape.memory.initial,
        },
        Some(offset) => recognise(wasm, shape).ok_or(Refusal::ReservedExport { offset })?,
    };
    if added.initial > pages {
        return Err(Refusal::MemoryTooLarge {
            minimum: added.initial * PAGE,
            limit: pages * PAGE,
        });
    }
    let mut module = Module::new();
    let mut has_globals = false;
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::CodeSectionStart { .. } => {}
            Payload::CodeSectionEntry(body) => {
                code.raw(&with_grow_calls(body, &added)?);
                if code.len() + u32::from(added.now) == defined(shape, &added) {
                    if added.now {
                        code.function(&grow_function(added.sentinel, added.pages));
                    }
                    module.section(&code);
                }
            }
            Payload::MemorySection(_) => {
                module.section(&limited_memory(shape, added.initial, pages));
            }
            Payload::CustomSection(section) => {
                if matches!(section.name(), "manyhands" | "name") {
                    copy(&mut module, wasm, 0, section.range());
                }
            }
            other => {
                let Some((id, range)) = other.as_section() else {
                    continue;
                };
                has_globals |= id == SectionId::Global as u8;
                if id == SectionId::Export as u8 && !has_globals && added.now {
                    module.section(&added_globals(&added));
                }
                match extension(id, &added) {
                    Some(items) if added.now => extend(&mut module, wasm, id, range, &items)?,
                    _ => copy(&mut module, wasm, id, range),
                }
            }
        }
    }
    Ok(module.finish())
}

/// How many bodies the shipped module's code section has.
fn defined(shape: &Shape, added: &Added) -> u32 {
    shape.bodies + u32::from(added.now)
}

fn copy(module: &mut Module, wasm: &[u8], id: u8, range: Range<usize>) {
    module.section(&RawSection {
        id,
        data: &wasm[range],
    });
}

/// Copies a section whose contents are a counted list, with some items more.
fn extend(
    module: &mut Module,
    wasm: &[u8],
    id: u8,
    range: Range<usize>,
    (more, items): &(u32, Vec<u8>),
) -> Result<(), Refusal> {
    let mut reader = wasmparser::BinaryReader::new(&wasm[range.clone()], range.start);
    let count = reader.read_var_u32()?;
    let mut data = Vec::with_capacity(range.len() + items.len() + 1);
    (count + more).encode(&mut data);
    data.extend_from_slice(&wasm[reader.original_position()..range.end]);
    data.extend_from_slice(items);
    module.section(&RawSection { id, data: &data });
    Ok(())
}

/// What is added to the section of this id: items of its list, how many and encoded.
fn extension(id: u8, added: &Added) -> Option<(u32, Vec<u8>)> {
    // A section of few items, encoded, is its size, their number, and the items.
    let items = |section: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        section(&mut bytes);
        let size = bytes
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .expect("a section begins with its size");
        bytes.split_off(size + 2)
    };
    const TYPE: u8 = SectionId::Type as u8;
    const FUNCTION: u8 = SectionId::Function as u8;
    const GLOBAL: u8 = SectionId::Global as u8;
    const EXPORT: u8 = SectionId::Export as u8;
    match id {
        TYPE => {
            let mut section = TypeSection::new();
            section.ty().function([ValType::I32], [ValType::I32]);
            Some((1, items(&|bytes| section.encode(bytes))))
        }
        FUNCTION => {
            let mut item = Vec::new();
            added.ty.encode(&mut item);
            Some((1, item))
        }
        GLOBAL => Some((GLOBALS, items(&|bytes| added_globals(added).encode(bytes)))),
        EXPORT => {
            let mut section = ExportSection::new();
            section.export(OOM_SENTINEL, ExportKind::Global, added.sentinel);
            Some((1, items(&|bytes| section.encode(bytes))))
        }
        _ => None,
    }
}

fn added_globals(added: &Added) -> GlobalSection {
    let mut section = GlobalSection::new();
    let ty = GlobalType {
        val_type: ValType::I32,
        mutable: true,
        shared: false,
    };
    section.global(ty, &ConstExpr::i32_const(0));
    // At most 65536 of them.
    section.global(ty, &ConstExpr::i32_const(added.initial as i32));
    section
}

fn limited_memory(shape: &Shape, initial: u64, pages: u64) -> MemorySection {
    let maximum = shape.memory.maximum.map_or(pages, |own| own.min(pages));
    let mut section = MemorySection::new();
    section.memory(MemoryType {
        minimum: (initial + READY).min(maximum),
        maximum: Some(maximum),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    section
}

/// `memory.grow` that takes pages which are there already before it asks for more, and
/// sets the sentinel and traps where there are none.
fn grow_function(sentinel: u32, pages: u32) -> Function {
    let (more, had, ready) = (0, 1, 2);
    let mut function = Function::new([(2, ValType::I32)]);
    function
        .instructions()
        .global_get(pages)
        .local_set(had)
        .local_get(more)
        .memory_size(0)
        .local_get(had)
        .i32_sub()
        .local_tee(ready)
        .i32_gt_u()
        .if_(BlockType::Empty)
        .local_get(more)
        .local_get(ready)
        .i32_sub()
        .memory_grow(0)
        .i32_const(-1)
        .i32_eq()
        .if_(BlockType::Empty)
        .i32_const(1)
        .global_set(sentinel)
        .unreachable()
        .end()
        .end()
        .local_get(had)
        .local_get(more)
        .i32_add()
        .global_set(pages)
        .local_get(had)
        .end();
    function
}

/// The body with a call of the growing function for each `memory.grow`, and with the
/// pages that the guest has for each `memory.size`.
fn with_grow_calls<'a>(body: &FunctionBody<'a>, added: &Added) -> Result<Cow<'a, [u8]>, Refusal> {
    let bytes = body.as_bytes();
    let found = sizes(body)?;
    if found.is_empty() || !added.now {
        return Ok(bytes.into());
    }
    let start = body.range().start;
    let mut out = Vec::with_capacity(bytes.len() + 8 * found.len());
    let mut copied = 0;
    for (at, grows) in found {
        out.extend_from_slice(&bytes[copied..at.start - start]);
        let instead = match grows {
            true => Instruction::Call(added.grow),
            false => Instruction::GlobalGet(added.pages),
        };
        instead.encode(&mut out);
        copied = at.end - start;
    }
    out.extend_from_slice(&bytes[copied..]);
    Ok(out.into())
}

/// Where a body grows the memory (true) or asks for its size; offsets in the module.
fn sizes(body: &FunctionBody<'_>) -> Result<Vec<(Range<usize>, bool)>, Refusal> {
    let mut operators = body.get_operators_reader()?;
    let mut found = Vec::new();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        let grows = match operator {
            Operator::MemoryGrow { .. } => true,
            Operator::MemorySize { .. } => false,
            Operator::TableGrow { .. } => return Err(Refusal::TableGrow { offset }),
            _ => continue,
        };
        found.push((offset..operators.original_position(), grows));
    }
    Ok(found)
}

/// Finds what an earlier pass has added, if it is all there as that pass
/// would have written it.
fn recognise(wasm: &[u8], shape: &Shape) -> Option<Added> {
    let grow = shape.functions.checked_sub(1)?;
    let sentinel = shape.globals.checked_sub(GLOBALS)?;
    let expected = grow_function(sentinel, sentinel + 1).into_raw_body();
    let mut initial = None;
    let mut types_end = None;
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::FunctionSection(section) => types_end = section.into_iter().last(),
            Payload::GlobalSection(section) => {
                let skipped = section.count().checked_sub(GLOBALS)?;
                let mut added = section.into_iter().skip(skipped as usize);
                let mut value = || {
                    let global = added.next()?.ok()?;
                    let ty = global.ty;
                    let counts = ty.mutable && ty.content_type == wasmparser::ValType::I32;
                    match global.init_expr.get_operators_reader().read().ok()? {
                        Operator::I32Const { value } if counts => u64::try_from(value).ok(),
                        _ => None,
                    }
                };
                (value()? == 0).then_some(())?;
                initial = Some(value()?);
            }
            Payload::ExportSection(section) => {
                let export = section.into_iter().last()?.ok()?;
                let is_global = export.kind == wasmparser::ExternalKind::Global;
                (is_global && export.name == OOM_SENTINEL && export.index == sentinel)
                    .then_some(())?;
            }
            Payload::CodeSectionEntry(body) => {
                bodies += 1;
                let last = bodies == shape.bodies;
                let fits = if last {
                    body.as_bytes() == expected
                } else {
                    sizes(&body).ok()?.is_empty()
                };
                fits.then_some(())?;
            }
            _ => {}
        }
    }
    let ty = types_end?.ok()?;
    Some(Added {
        now: false,
        ty,
        grow,
        sentinel,
        pages: sentinel + 1,
        initial: initial.filter(|initial| *initial <= shape.memory.initial)?,
    })
}
