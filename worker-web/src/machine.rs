//! What this browser's engine can do.

use js_sys::{Uint8Array, WebAssembly};

/// Whether the engine has SIMD128: it takes a function that returns a vector.
pub(crate) fn has_simd() -> bool {
    const HEAD: [u8; 21] = [
        0, b'a', b's', b'm', 1, 0, 0, 0, // version 1
        1, 5, 1, 0x60, 0, 1, 0x7b, // types: () -> v128
        3, 2, 1, 0, // functions: of type 0
        10, 22, // code, 22 bytes
    ];
    let mut module = HEAD.to_vec();
    module.extend([1, 20, 0, 0xfd, 0x0c]); // one body: v128.const
    module.extend([0; 16]);
    module.push(0x0b);
    WebAssembly::validate(&Uint8Array::from(&module[..])).unwrap_or(false)
}
