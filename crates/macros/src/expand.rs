//! What is added to the function: its entry in the registry, and an ignored test.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::function::Function;
use crate::options::{Expect, Options, Severity};

/// Registers the function, in every build, and makes it a test under `cargo test`.
pub(crate) fn registration(function: &Function, options: &Options) -> TokenStream {
    let conditions: Vec<_> = function.conditions().collect();
    let guard = guard(function);
    let entry = entry(function, options);
    let test = test(function);
    quote! {
        #guard
        #(#conditions)*
        ::hospital::__private::inventory::submit! { #entry }
        #(#conditions)*
        #test
    }
}

/// Has no effect, except in an `impl`: there, an associated function looks like a free one to us, and the compiler
/// rejects this `use`, at the function's name, as "not supported in `trait`s or `impl`s", to be moved out.
fn guard(function: &Function) -> TokenStream {
    quote_spanned! {here(function)=>
        #[allow(unused_imports)]
        use ::hospital as _;
    }
}

/// A value of `hospital::Registered`.
fn entry(function: &Function, options: &Options) -> TokenStream {
    let name = function.path();
    let title = options.title.as_ref().map_or_else(|| function.title(), |title| title.value());
    let tags = options.tags.iter().flatten();
    let blocking = options.blocking.as_ref().is_none_or(|blocking| blocking.value);
    let timeout = optional(options.timeout.map(duration));
    let schedule = optional(options.every.map(|every| {
        let (every, fall, rise) = (duration(every), options.fall.unwrap_or(1), options.rise.unwrap_or(1));
        quote!(::hospital::model::schedule::Schedule { every: #every, fall: #fall, rise: #rise })
    }));
    let grace = optional(options.grace.map(duration));
    let expect = match options.expect.unwrap_or(Expect::Success) {
        Expect::Success => quote!(Success),
        Expect::Failure => quote!(Failure),
    };
    let on_fail = match options.on_fail.unwrap_or(Severity::Fail) {
        Severity::Fail => quote!(Fail),
        Severity::Warn => quote!(Warn),
    };
    let needs = options.needs.iter().flatten();
    let run = run(function);
    quote! {
        ::hospital::Registered {
            module: ::core::module_path!(),
            name: #name,
            title: #title,
            timeout: #timeout,
            tags: &[#(#tags),*],
            expect: ::hospital::model::check::Expect::#expect,
            on_fail: ::hospital::model::check::Severity::#on_fail,
            needs: &[#(#needs),*],
            schedule: #schedule,
            grace: #grace,
            blocking: #blocking,
            run: #run,
        }
    }
}

fn optional(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn duration(time: Duration) -> TokenStream {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

/// A closure that calls the function. A wrong return type is reported where it is written.
fn run(function: &Function) -> TokenStream {
    let name = function.name;
    let called = match function.asyncness {
        None => quote!(#name()),
        Some(_) => quote!(#name().await),
    };
    let found = match function.returns {
        None => quote! {
            { #called; ::hospital::model::check::Finding::PASS }
        },
        Some(returns) => {
            let answer = quote_spanned!(syn::spanned::Spanned::span(returns)=> <#returns as ::hospital::Answer<_>>);
            quote!(#answer::finding(#called))
        }
    };
    match function.asyncness {
        None => quote!(|_| #found),
        Some(_) => quote!(|deadline| ::hospital::__private::wait(deadline, async { #found })),
    }
}

/// A test named `healthcheck_…`, so that this word selects all of them and nothing else.
fn test(function: &Function) -> TokenStream {
    let path = function.path();
    let name = format_ident!("healthcheck_{path}", span = here(function));
    quote_spanned! {here(function)=>
        #[cfg(test)]
        #[::core::prelude::v1::test]
        #[ignore = "a healthcheck: cargo test -- --ignored healthcheck"]
        fn #name() {
            ::hospital::__private::run_as_test(::core::module_path!(), #path);
        }
    }
}

/// The place of the function's name, but with our hygiene and not its author's: errors there point at the function.
fn here(function: &Function) -> Span {
    function.name.span().resolved_at(Span::call_site())
}
