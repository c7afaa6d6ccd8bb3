//! The attribute `#[healthcheck]`. It is documented and meant to be used as `hospital::healthcheck`.

mod expand;
mod function;
mod options;

use proc_macro::TokenStream;
use quote::quote;

use function::Function;
use options::Options;

#[allow(missing_docs)] // Documented where the crate `hospital` re-exports it, beside what it refers to.
#[proc_macro_attribute]
pub fn healthcheck(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let added = registration(arguments, item.clone()).unwrap_or_else(|error| error.to_compile_error());
    // The item stays as it was written, even after an error: its callers should not cause further ones.
    let item = proc_macro2::TokenStream::from(item);
    quote!(#item #added).into()
}

fn registration(arguments: TokenStream, item: TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let item = syn::parse(item)?;
    let (function, options) = (Function::of(&item)?, syn::parse::<Options>(arguments)?);
    if let (Some(_), Some(blocking)) =
        (function.asyncness, options.blocking.as_ref().filter(|blocking| !blocking.value))
    {
        return Err(syn::Error::new(
            blocking.span,
            "an async healthcheck waits, so it needs a thread: leave `blocking` out",
        ));
    }
    Ok(expand::registration(&function, &options))
}
