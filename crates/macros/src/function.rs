//! The item under the attribute: only a plain function can be a healthcheck.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{
    Attribute, Error, Expr, ExprLit, Item, ItemFn, Lit, Meta, Result, ReturnType, Safety, Signature, Token, Type,
};

const WANTED: &str = "write a plain `fn name()` or `fn name() -> hospital::Result`";

/// A function that can be called as a healthcheck.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a Ident,
    /// What it returns; `None` is `()`.
    pub(crate) returns: Option<&'a Type>,
    pub(crate) asyncness: Option<&'a Token![async]>,
    attributes: &'a [Attribute],
}

impl<'a> Function<'a> {
    /// Accepts a function that can be called without arguments and at any time.
    pub(crate) fn of(item: &'a Item) -> Result<Function<'a>> {
        let Item::Fn(ItemFn { attrs: attributes, sig, .. }) = item else {
            return Err(Error::new_spanned(item, format!("a healthcheck is a function: {WANTED}")));
        };
        if let Some((culprit, problem)) = objection(sig) {
            return Err(Error::new_spanned(culprit, format!("{problem}: {WANTED}")));
        }
        let returns = match &sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, of) => Some(&**of),
        };
        Ok(Function { name: &sig.ident, returns, asyncness: sig.asyncness.as_ref(), attributes })
    }

    /// The first line of its doc comment, or else its name in words: `orders_database` is "Orders database".
    pub(crate) fn title(&self) -> String {
        let documented = self.attributes.iter().filter_map(doc).flat_map(|text| {
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
        });
        documented.into_iter().next().unwrap_or_else(|| in_words(&self.path()))
    }

    /// Its name as a part of an id, where `r#match` is `match`.
    pub(crate) fn path(&self) -> String {
        self.name.to_string().trim_start_matches("r#").to_owned()
    }

    /// The conditions under which the function exists.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
    }
}

/// The part of a signature that prevents calling it as a healthcheck, and why.
fn objection(sig: &Signature) -> Option<(&dyn ToTokens, &'static str)> {
    if let Some(token) = sig.asyncness.as_ref().filter(|_| !cfg!(feature = "async")) {
        return Some((token, "a healthcheck can only be async with the feature `async` of hospital"));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        return Some((token, "a healthcheck cannot be unsafe"));
    }
    if let Some(abi) = &sig.abi {
        return Some((abi, "a healthcheck cannot have another ABI"));
    }
    if !sig.generics.params.is_empty() {
        return Some((&sig.generics, "a healthcheck cannot be generic, nobody could say for which type it runs"));
    }
    if let Some(clause) = &sig.generics.where_clause {
        return Some((clause, "a healthcheck cannot have conditions"));
    }
    if sig.receiver().is_some() {
        return Some((&sig.inputs, "a healthcheck cannot be a method, there is nothing to call it on"));
    }
    if !sig.inputs.is_empty() {
        return Some((&sig.inputs, "a healthcheck cannot take arguments, a round has none to give"));
    }
    match &sig.output {
        ReturnType::Type(_, of) if matches!(**of, Type::ImplTrait(_)) => {
            Some((of, "a healthcheck has to name the type that it returns"))
        }
        ReturnType::Type(..) | ReturnType::Default => None,
    }
}

/// The text of one line of a doc comment.
fn doc(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

fn in_words(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_else(|| name.to_owned())
}
