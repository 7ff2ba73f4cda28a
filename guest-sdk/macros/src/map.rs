//! `#[map]` on a function over records: a concat job whose type has the function's name.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericParam, Ident, ItemFn, PathArguments, Result, ReturnType, Signature, Type,
};

use crate::expand::{Mode, exports, flag};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let whole = flag(arguments, "task")?;
    let item: ItemFn = syn::parse2(item.clone()).map_err(|_| {
        Error::new_spanned(
            item,
            "`#[map]` belongs on a function, `fn name(record: &str) -> String`",
        )
    })?;
    check_signature(&item.sig)?;
    let params = params_type(&item.sig)?;
    let job = job(&item, params, whole);
    let exports = exports(&item.sig.ident, Mode::Concat, true);
    Ok(quote!(#item #job #exports))
}

fn check_signature(signature: &Signature) -> Result<()> {
    let refuse = |tokens: &dyn quote::ToTokens, why: &str| {
        Err(Error::new_spanned(
            tokens,
            format!("a mapped function cannot be {why}"),
        ))
    };
    if let Some(token) = &signature.asyncness {
        return refuse(token, "async: a guest waits for nothing");
    }
    if let Some(token) = &signature.unsafety {
        return refuse(token, "unsafe: nobody would keep its contract");
    }
    let concrete = |parameter: &&GenericParam| matches!(parameter, GenericParam::Lifetime(_));
    if let Some(parameter) = signature.generics.params.iter().find(|p| !concrete(p)) {
        return refuse(parameter, "generic: a guest's exports are concrete");
    }
    if let Some(receiver) = signature.receiver() {
        return refuse(receiver, "a method");
    }
    if signature.inputs.is_empty() || signature.inputs.len() > 2 {
        return Err(Error::new_spanned(
            signature,
            "a mapped function takes a record and, if it wants, `&Params`",
        ));
    }
    Ok(())
}

/// The type that the second argument refers to.
fn params_type(signature: &Signature) -> Result<Option<&Type>> {
    match signature.inputs.get(1) {
        None => Ok(None),
        Some(FnArg::Typed(argument)) => match &*argument.ty {
            Type::Reference(reference) if reference.mutability.is_none() => {
                Ok(Some(&reference.elem))
            }
            other => Err(Error::new_spanned(
                other,
                "the parameters are lent: write `&Params`",
            )),
        },
        Some(FnArg::Receiver(receiver)) => Err(Error::new_spanned(
            receiver,
            "a mapped function has no `self`",
        )),
    }
}

fn job(item: &ItemFn, params: Option<&Type>, whole: bool) -> TokenStream {
    let ItemFn { vis, sig, .. } = item;
    let function = &sig.ident;
    // Errors about the record's type should point at it.
    let record = match &sig.inputs[0] {
        FnArg::Typed(argument) => argument.ty.span(),
        FnArg::Receiver(receiver) => receiver.span(),
    };
    let arguments = match params {
        Some(_) => quote!(record, &self.params),
        None => quote!(record),
    };
    let call = if returns_result(&sig.output) {
        quote!(#function(#arguments))
    } else {
        quote!(::std::result::Result::<_, ::std::convert::Infallible>::Ok(#function(#arguments)))
    };
    let over = Ident::new(if whole { "map_task" } else { "map_lines" }, record);
    let body = quote_spanned! {record=>
        ::manyhands_guest_sdk::__private::#over(task, out, |record| #call)
    };
    let params = match params {
        Some(params) => quote!(#params),
        None => quote!(::manyhands_guest_sdk::__private::NoParams),
    };
    let doc = format!("The job that maps [`{function}()`] over the records of an input.");
    quote! {
        #[doc = #doc]
        #[allow(non_camel_case_types)]
        #vis struct #function {
            params: #params,
        }

        impl<'de> ::manyhands_guest_sdk::__private::serde::Deserialize<'de> for #function {
            fn deserialize<D>(deserializer: D) -> ::std::result::Result<Self, D::Error>
            where
                D: ::manyhands_guest_sdk::__private::serde::Deserializer<'de>,
            {
                let params =
                    ::manyhands_guest_sdk::__private::serde::Deserialize::deserialize(deserializer)?;
                ::std::result::Result::Ok(Self { params })
            }
        }

        #[allow(refining_impl_trait)]
        impl ::manyhands_guest_sdk::Concat for #function {
            fn run(
                &self,
                task: &::manyhands_guest_sdk::Task,
                out: &mut ::std::vec::Vec<u8>,
            ) -> ::manyhands_guest_sdk::Result<()> {
                #body
            }
        }
    }
}

/// Whether the function is written to return a `Result`, by whatever path.
fn returns_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else {
        return false;
    };
    match &**ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| {
            segment.ident == "Result"
                && !matches!(segment.arguments, PathArguments::Parenthesized(_))
        }),
        _ => false,
    }
}
