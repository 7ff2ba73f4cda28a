//! `#[job]` on an `impl` of one of the two job traits.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Error, Ident, ImplItem, ItemImpl, Path, Result, Type};

use crate::expand::{Mode, exports, flag};

const USAGE: &str = "`#[job]` belongs on `impl Reduce for …` or `impl Concat for …`";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let input = flag(arguments, "input")?;
    let item: ItemImpl = syn::parse2(item.clone()).map_err(|_| Error::new_spanned(item, USAGE))?;
    let mode = mode(&item)?;
    let job = job_type(&item)?;
    check_tasks(&item, input)?;
    check_partial(&item)?;
    let exports = exports(job, mode, input);
    // The traits let an author return a value or a `Result`: that is a refinement on purpose.
    Ok(quote! {
        #[allow(refining_impl_trait)]
        #item
        #exports
    })
}

fn mode(item: &ItemImpl) -> Result<Mode> {
    let Some((negation, path, _)) = &item.trait_ else {
        return Err(Error::new_spanned(&item.self_ty, USAGE));
    };
    if let Some(negation) = negation {
        return Err(Error::new_spanned(negation, USAGE));
    }
    match last_ident(path) {
        Some(name) if name == "Reduce" => Ok(Mode::Reduce),
        Some(name) if name == "Concat" => Ok(Mode::Concat),
        _ => Err(Error::new_spanned(path, USAGE)),
    }
}

fn last_ident(path: &Path) -> Option<&Ident> {
    path.segments.last().map(|segment| &segment.ident)
}

/// The job's type, which must be concrete: the exports are not generic.
fn job_type(item: &ItemImpl) -> Result<&Ident> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "a job is a concrete type: a guest's exports cannot be generic",
        ));
    }
    match &*item.self_ty {
        Type::Path(path) if path.qself.is_none() => path.path.get_ident(),
        _ => None,
    }
    .ok_or_else(|| {
        Error::new_spanned(
            &item.self_ty,
            "a job is a struct of this module, without generics: its fields are the parameters",
        )
    })
}

/// A job says how many tasks it has, or else the input does.
fn check_tasks(item: &ItemImpl, input: bool) -> Result<()> {
    let tasks = item.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == "tasks" => Some(function),
        _ => None,
    });
    match (tasks, input) {
        (Some(tasks), true) => Err(Error::new_spanned(
            &tasks.sig,
            "with `#[job(input)]` the tasks are the records of the input: leave `tasks` out",
        )),
        (None, false) => Err(Error::new(
            item.self_ty.span(),
            "how many tasks has this job? Write `fn tasks(&self) -> u64`, or `#[job(input)]` if \
             they are the records of an input",
        )),
        _ => Ok(()),
    }
}

/// A hash set is written in its own order, which depends on how the work was cut.
fn check_partial(item: &ItemImpl) -> Result<()> {
    let partial = item.items.iter().find_map(|item| match item {
        ImplItem::Type(alias) if alias.ident == "Partial" => Some(&alias.ty),
        _ => None,
    });
    let mut search = HashSets { found: None };
    if let Some(partial) = partial {
        search.visit_type(partial);
    }
    search.found.map_or(Ok(()), |set| {
        Err(Error::new_spanned(
            set,
            "a `HashSet` is written in its own order, so the result would depend on how the work \
             was cut: use a `BTreeSet`, or a `HashMap<_, ()>`",
        ))
    })
}

struct HashSets {
    found: Option<Path>,
}

impl<'ast> Visit<'ast> for HashSets {
    fn visit_path(&mut self, path: &'ast Path) {
        if last_ident(path).is_some_and(|name| name == "HashSet") {
            self.found.get_or_insert_with(|| path.clone());
        }
        visit::visit_path(self, path);
    }
}
