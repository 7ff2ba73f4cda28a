//! What both attributes share: errors as code, the exports, the custom section.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Ident, Result};

/// Expands the item, or gives it back with a compile error beside it, so that the author's other
/// uses of it do not fail as well.
pub(crate) fn or_error(
    expand: fn(TokenStream, TokenStream) -> Result<TokenStream>,
    arguments: TokenStream,
    item: TokenStream,
) -> TokenStream {
    expand(arguments, item.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        // Without the attribute, the item's return types would be warned of besides.
        quote!(#[allow(refining_impl_trait)] #item #error)
    })
}

/// The attribute's only possible argument, if it is given.
pub(crate) fn flag(arguments: TokenStream, name: &str) -> Result<bool> {
    if arguments.is_empty() {
        return Ok(false);
    }
    let error = |tokens: TokenStream| {
        Error::new_spanned(tokens, format!("the only argument known here is `{name}`"))
    };
    match syn::parse2::<Ident>(arguments.clone()) {
        Ok(ident) if ident == name => Ok(true),
        _ => Err(error(arguments)),
    }
}

/// The two ways of merging of ABI.md.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Reduce,
    Concat,
}

/// Ties the type `job` to its program, and exports that program where there is a host.
pub(crate) fn exports(job: &Ident, mode: Mode, input: bool) -> TokenStream {
    let program = match mode {
        Mode::Reduce => quote!(ReduceProgram),
        Mode::Concat => quote!(ConcatProgram),
    };
    let merging = (mode == Mode::Reduce).then(merging_exports);
    quote! {
        const _: () = {
            use ::manyhands_guest_sdk::__private as sdk;

            impl sdk::Job for #job {
                type Program = sdk::#program<#job>;
                const INPUT: bool = #input;
            }

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                #[used]
                #[unsafe(link_section = "manyhands")]
                static SECTION: [u8; 4] = sdk::section::<sdk::#program<#job>>(#input);

                static GUEST: sdk::Guest<sdk::#program<#job>> = sdk::Guest::new();

                #[unsafe(no_mangle)]
                extern "C" fn alloc(len: usize) -> *mut u8 {
                    sdk::alloc(len)
                }

                #[unsafe(no_mangle)]
                unsafe extern "C" fn open(params: *mut u8, len: usize) -> i64 {
                    unsafe { GUEST.open(params, len) }
                }

                #[unsafe(no_mangle)]
                unsafe extern "C" fn run(first: i64, count: i64) -> i64 {
                    unsafe { GUEST.run(first, count) }
                }

                #[unsafe(no_mangle)]
                unsafe extern "C" fn take() -> i64 {
                    unsafe { GUEST.take() }
                }

                #merging
            };
        };
    }
}

fn merging_exports() -> TokenStream {
    quote! {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn merge(
            left: *mut u8,
            left_len: usize,
            right: *mut u8,
            right_len: usize,
        ) -> i64 {
            unsafe { GUEST.merge(left, left_len, right, right_len) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn finish(partial: *mut u8, len: usize) -> i64 {
            unsafe { GUEST.finish(partial, len) }
        }
    }
}
