//! Every reason for a refusal, in the words an author reads; and what admission
//! writes into a module.

use super::guests::{assemble, concat, plain, reduce};
use crate::admit::{Admitted, OOM_SENTINEL, PAGE, Refusal, admit};
use manyhands_protocol::{BlobHash, MergeMode};
use wasmparser::{Operator, Parser, Payload};
use wasmtime::{Engine, Instance, Module, Store};

const LIMIT: u64 = 1 << 20;

fn refusal(wasm: &[u8]) -> String {
    admit(wasm, LIMIT).expect_err("must be refused").to_string()
}

/// The plain guest with more text.
fn variant(extra: &str) -> Vec<u8> {
    reduce(extra, super::guests::VALUE)
}

fn module_with_section(bytes: &str) -> Vec<u8> {
    assemble(&format!("(module (@custom \"manyhands\" \"{bytes}\"))"))
}

#[test]
fn what_is_not_wasm_is_said_to_be_so() {
    assert!(refusal(b"PK\x03\x04").starts_with("not a WebAssembly module"));
    assert!(refusal(b"").starts_with("not a WebAssembly module"));
    assert!(refusal(b"\0asm\x02\0\0\0").starts_with("not a WebAssembly module"));
    assert!(refusal(&assemble("(component)")).starts_with("a WebAssembly component"));
}

#[test]
fn every_cut_is_refused_and_a_cut_section_is_said_to_be_truncated() {
    let whole = plain();
    let mut admitted = 0;
    for len in 1..whole.len() {
        let Err(refusal) = admit(&whole[..len], LIMIT) else {
            admitted += 1;
            continue;
        };
        let text = refusal.to_string();
        let at_a_boundary = matches!(refusal, Refusal::NoSection | Refusal::Invalid { .. });
        assert!(
            at_a_boundary || text.ends_with(&format!("section (at offset {len:#x})")),
            "{len}: {text}"
        );
    }
    assert_eq!(
        admitted, 1,
        "only the names, which come last, can be missed by nobody"
    );
    let middle = whole.len() / 2;
    assert_eq!(
        admit(&whole[..middle], LIMIT),
        Err(Refusal::Truncated { offset: middle })
    );
}

#[test]
fn features_are_refused_by_name_and_place() {
    let cases = [
        (
            "(func (drop (i32.atomic.load (i32.const 0))))",
            "threads (atomics or shared memory)",
        ),
        (
            "(func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))",
            "relaxed SIMD",
        ),
        ("(func $loop (return_call $loop))", "tail calls"),
        ("(func (param externref))", "externref"),
        ("(type (struct))", "garbage collection"),
        ("(tag) (func (throw 0))", "exceptions"),
        (
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
            "extended constant expressions",
        ),
    ];
    for (text, feature) in cases {
        let text = refusal(&variant(text));
        let start = format!("uses {feature}, which guests may not (at offset 0x");
        assert!(text.starts_with(&start), "{feature}: {text}");
    }
}

#[test]
fn other_memories_are_refused_by_name() {
    let module = |memory: &str| {
        assemble(&format!(
            "(module {memory} (@custom \"manyhands\" \"\\01\\00\\00\\00\"))"
        ))
    };
    assert!(
        refusal(&module("(memory 1 2 shared)")).contains("uses threads (atomics or shared memory)")
    );
    assert!(refusal(&module("(memory i64 1)")).contains("uses 64-bit memory"));
    assert!(refusal(&module("(memory 1) (memory 1)")).contains("uses more than one memory"));
    assert!(refusal(&module("(memory 1 (pagesize 1))")).contains("uses custom page sizes"));
}

#[test]
fn invalid_code_is_refused_with_its_place() {
    let text = refusal(&variant("(func (result i32) (i64.const 1))"));
    assert!(text.starts_with("invalid module: type mismatch"), "{text}");
    assert!(text.contains("(at offset 0x"), "{text}");
}

#[test]
fn imports_are_checked() {
    let text = refusal(&variant(r#"(import "env" "now" (func))"#));
    assert!(
        text.starts_with(r#"unknown import "env"."now" (at offset 0x"#),
        "{text}"
    );
    let text = refusal(&variant(
        r#"(import "manyhands" "clock" (func (result i64)))"#,
    ));
    assert!(
        text.starts_with(r#"unknown import "manyhands"."clock" (at offset 0x"#),
        "{text}"
    );
    let text = refusal(&variant(r#"(import "manyhands" "log" (func (param i64)))"#));
    let start = r#"import "manyhands"."log" has type (i64), not (i32, i32) (at offset 0x"#;
    assert!(text.starts_with(start), "{text}");
    let text = refusal(&variant(r#"(import "manyhands" "input_len" (global i64))"#));
    assert!(text.contains("has type global, not (i64) -> i64"), "{text}");
}

#[test]
fn exports_are_checked() {
    let module = |body: &str| {
        assemble(&format!(
            "(module {body} (@custom \"manyhands\" \"\\01\\00\\00\\00\"))"
        ))
    };
    assert_eq!(
        refusal(&module("(memory (export \"memory\") 1)")),
        r#"missing export "alloc" (i32) -> i32"#
    );
    let text = refusal(&module("(func (export \"alloc\") (param i32 i32))"));
    assert!(
        text.starts_with(r#"export "alloc" has type (i32, i32), not (i32) -> i32 (at offset 0x"#),
        "{text}"
    );
    let concat_as_reduce = {
        let mut wasm = concat(false, "", "");
        let section = b"manyhands\x01\0\x01\0";
        let at = wasm
            .windows(section.len())
            .position(|bytes| bytes == section)
            .expect("the section");
        wasm[at + section.len() - 2] = 0;
        wasm
    };
    assert_eq!(
        refusal(&concat_as_reduce),
        r#"missing export "merge" (i32, i32, i32, i32) -> i64"#
    );
    assert!(
        refusal(&variant(&format!(
            "(global (export \"{OOM_SENTINEL}\") i32 (i32.const 0))"
        )))
        .contains("admission itself adds")
    );
}

#[test]
fn the_section_is_checked() {
    assert!(refusal(&assemble("(module)")).starts_with("no custom section \"manyhands\""));
    let cases = [
        (
            "\\01\\00\\00",
            "custom section \"manyhands\" has 3 bytes, not 4 (at offset 0x14)",
        ),
        (
            "\\02\\00\\00\\00",
            "built for version 2 of the guest ABI, this host speaks version 1 (at offset 0x14)",
        ),
        (
            "\\01\\00\\02\\00",
            "unknown merge mode 2 in custom section \"manyhands\" (at offset 0x14)",
        ),
        (
            "\\01\\00\\00\\02",
            "unknown flags 0x02 in custom section \"manyhands\" (at offset 0x14)",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(&module_with_section(bytes)), expected);
    }
    let twice = variant("(@custom \"manyhands\" \"\\01\\00\\00\\00\")");
    assert!(refusal(&twice).starts_with("a second custom section \"manyhands\" (at offset 0x"));
}

#[test]
fn memory_and_tables_have_limits() {
    let refusal = |limit| admit(&plain(), limit).expect_err("too small").to_string();
    assert_eq!(
        refusal(3 * 65_536),
        "needs at least 262144 bytes of memory, the job allows 196608"
    );
    assert!(admit(&plain(), 4 * 65_536).is_ok());
    let text = self::refusal(&variant("(table 100001 funcref)"));
    assert!(
        text.starts_with("has too many or too large tables (at offset 0x"),
        "{text}"
    );
    assert!(admit(&variant("(table 100000 funcref)"), LIMIT).is_ok());
    let text = self::refusal(&variant(
        "(table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1))))",
    ));
    assert!(text.starts_with("uses table.grow"), "{text}");
}

#[test]
fn admission_is_idempotent_and_names_what_it_found() {
    let grow = "(func $grow (result i32) (memory.grow (i32.const 3)))";
    let modules = [
        plain(),
        variant(grow),
        variant("(global i32 (i32.const 3))"),
        variant("(func $start) (start $start)"),
        concat(true, "", ""),
    ];
    for module in modules {
        let once = admit(&module, LIMIT).unwrap();
        assert_eq!(once.hash, BlobHash::of(&once.wasm));
        assert_eq!(admit(&once.wasm, LIMIT).unwrap(), once);
        assert_ne!(once.wasm, module);
    }
    let Admitted {
        merge,
        takes_inputs,
        ..
    } = admit(&concat(true, "", ""), LIMIT).unwrap();
    assert_eq!((merge, takes_inputs), (MergeMode::Concat, true));
    let Admitted {
        merge,
        takes_inputs,
        ..
    } = admit(&plain(), LIMIT).unwrap();
    assert_eq!((merge, takes_inputs), (MergeMode::Reduce, false));
}

/// What a guest with 4 pages of its own sees of its memory.
const MEMORY: &str = "(func (export \"size\") (result i32) memory.size)
    (func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))";

#[test]
fn a_guest_sees_the_pages_that_it_asked_for_and_the_first_are_there() {
    let admitted = admit(&variant(MEMORY), 24 * PAGE).unwrap();
    let engine = Engine::default();
    let module = Module::new(&engine, &admitted.wasm).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let size = instance.get_typed_func::<(), u32>(&mut store, "size");
    let grow = instance.get_typed_func::<u32, u32>(&mut store, "grow");
    let (size, grow) = (size.unwrap(), grow.unwrap());
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let sentinel = instance.get_global(&mut store, OOM_SENTINEL).unwrap();
    assert_eq!(size.call(&mut store, ()).unwrap(), 4);
    for (more, had, there) in [
        (0, 4, 20),
        (10, 4, 20),
        (6, 14, 20),
        (0, 20, 20),
        (3, 20, 23),
    ] {
        assert_eq!(grow.call(&mut store, more).unwrap(), had, "{more} more");
        assert_eq!(size.call(&mut store, ()).unwrap(), had + more);
        assert_eq!(memory.size(&store), there, "after {more} more");
    }
    for more in [2, u32::MAX] {
        assert!(grow.call(&mut store, more).is_err(), "{more} more");
        assert_eq!(sentinel.get(&mut store).i32(), Some(1));
        assert_eq!(size.call(&mut store, ()).unwrap(), 23);
    }
    assert_eq!(grow.call(&mut store, 1).unwrap(), 23, "all that is allowed");
}

#[test]
fn another_pass_counts_from_the_pages_that_the_author_asked_for() {
    let once = admit(&variant(MEMORY), 24 * PAGE).unwrap();
    let least = admit(&once.wasm, 4 * PAGE).unwrap();
    assert_eq!(least, admit(&variant(MEMORY), 4 * PAGE).unwrap());
    let refused = admit(&once.wasm, 3 * PAGE).unwrap_err();
    let (minimum, limit) = (4 * PAGE, 3 * PAGE);
    assert_eq!(refused, Refusal::MemoryTooLarge { minimum, limit });
    // The first page count that is nobody's: 4 as the second global's value.
    let mut forged = once.wasm.to_vec();
    let globals = [0x7f, 1, 0x41, 0, 0x0b, 0x7f, 1, 0x41, 4, 0x0b];
    let found = forged.windows(globals.len()).position(|at| at == globals);
    forged[found.unwrap() + 8] = 21;
    assert!(matches!(
        admit(&forged, 24 * PAGE),
        Err(Refusal::ReservedExport { .. })
    ));
}

#[test]
fn what_an_earlier_pass_wrote_is_not_taken_on_trust() {
    // As admission would leave it, but with a growth of its own.
    let once = admit(&variant("(func (drop (memory.grow (i32.const 1))))"), LIMIT)
        .unwrap()
        .wasm;
    let call = once
        .windows(3)
        .position(|code| matches!(code, [0x10, _, 0x1a]))
        .expect("call, drop");
    let mut forged = once.to_vec();
    forged[call..call + 2].copy_from_slice(&[0x40, 0x00]);
    assert!(matches!(
        admit(&forged, LIMIT),
        Err(Refusal::ReservedExport { .. })
    ));
}

#[test]
fn the_memory_gets_its_maximum_and_debug_sections_go() {
    let source = variant("(@custom \".debug_info\" \"lots\") (@custom \"producers\" \"x\")");
    let admitted = admit(&source, LIMIT).unwrap();
    let mut sections = Vec::new();
    let mut grows = 0;
    for payload in Parser::new(0).parse_all(&admitted.wasm) {
        match payload.unwrap() {
            Payload::MemorySection(section) => {
                let memory = section.into_iter().next().unwrap().unwrap();
                // Its own, and those it may grow by first, within the limit.
                assert_eq!((memory.initial, memory.maximum), (16, Some(16)));
            }
            Payload::CustomSection(section) => sections.push(section.name().to_owned()),
            Payload::CodeSectionEntry(body) => {
                let mut operators = body.get_operators_reader().unwrap();
                while !operators.eof() {
                    grows += u32::from(matches!(
                        operators.read().unwrap(),
                        Operator::MemoryGrow { .. }
                    ));
                }
            }
            _ => {}
        }
    }
    sections.sort();
    assert_eq!(sections, ["manyhands", "name"]);
    assert_eq!(grows, 1, "only in the function that traps");
}
