//! The options in the parentheses: `timeout = "2s", tags = ["readiness"], …`.

use std::fmt::Display;
use std::time::Duration;

use proc_macro2::Ident;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, LitBool, LitInt, LitStr, Result, Token, bracketed};

/// The longest timeout that is allowed, a hundred years: no deadline can overflow with it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How often a check may run on a schedule, and how long its start may take: as in `HEALTHCHECKS`.
const MOST_OFTEN: Duration = Duration::from_millis(100);
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);

const KNOWN: &str =
    "`timeout`, `tags`, `title`, `expect`, `on_fail`, `needs`, `every`, `fall`, `rise`, `grace` and `blocking`";

/// The options of one healthcheck, each validated; `None` if it was not given.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) tags: Option<Vec<LitStr>>,
    pub(crate) title: Option<LitStr>,
    pub(crate) expect: Option<Expect>,
    pub(crate) on_fail: Option<Severity>,
    pub(crate) needs: Option<Vec<LitStr>>,
    pub(crate) every: Option<Duration>,
    pub(crate) fall: Option<u32>,
    pub(crate) rise: Option<u32>,
    pub(crate) grace: Option<Duration>,
    pub(crate) blocking: Option<LitBool>,
}

/// What a healthy answer is.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    Success,
    Failure,
}

/// What a bad finding counts as.
#[derive(Clone, Copy)]
pub(crate) enum Severity {
    Fail,
    Warn,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> Result<Options> {
        let (mut options, mut every, mut counted) = (Options::default(), None, None);
        while !input.is_empty() {
            let key: Ident = input
                .parse()
                .map_err(|error| Error::new(error.span(), format!("expected an option: known are {KNOWN}")))?;
            match key.to_string().as_str() {
                "timeout" => set(&mut options.timeout, &key, input, timeout)?,
                "tags" => set(&mut options.tags, &key, input, tags)?,
                "title" => set(&mut options.title, &key, input, title)?,
                "expect" => set(&mut options.expect, &key, input, expect)?,
                "on_fail" => set(&mut options.on_fail, &key, input, on_fail)?,
                "needs" => set(&mut options.needs, &key, input, needs)?,
                "every" => {
                    set(&mut options.every, &key, input, every_so_often)?;
                    every = Some(key);
                }
                "fall" | "rise" => {
                    let option = if key == "fall" { &mut options.fall } else { &mut options.rise };
                    set(option, &key, input, in_a_row)?;
                    counted = Some(key);
                }
                "grace" => set(&mut options.grace, &key, input, grace)?,
                "blocking" => set(&mut options.blocking, &key, input, blocking)?,
                _ => return Err(Error::new(key.span(), format!("there is no option `{key}`: known are {KNOWN}"))),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        match (every, counted, &options) {
            (None, Some(key), _) => {
                Err(Error::new(key.span(), format!("`{key}` counts the runs of a schedule: write `every`, too")))
            }
            (Some(key), _, Options { every: Some(every), timeout: Some(timeout), .. }) if every < timeout => {
                Err(Error::new(key.span(), "it runs more often than it may take: write no less than its timeout"))
            }
            _ => Ok(options),
        }
    }
}

/// Reads `= value` after a key.
fn set<T>(
    option: &mut Option<T>,
    key: &Ident,
    input: ParseStream,
    read: impl FnOnce(ParseStream) -> Result<T>,
) -> Result<()> {
    if option.is_some() {
        return Err(Error::new(key.span(), format!("option `{key}` is given twice: give it once")));
    }
    if !input.peek(Token![=]) {
        return Err(Error::new(key.span(), format!("option `{key}` needs a value, as in `{key} = …`")));
    }
    input.parse::<Token![=]>()?;
    *option = Some(read(input)?);
    Ok(())
}

fn timeout(input: ParseStream) -> Result<Duration> {
    match duration(input, "timeout = \"2s\"")? {
        (Duration::ZERO, text) => {
            Err(Error::new(text.span(), "no check can be done in no time: write a longer timeout"))
        }
        (duration, text) if duration > LONGEST => {
            Err(Error::new(text.span(), "nobody waits for more than a hundred years: write a shorter timeout"))
        }
        (duration, _) => Ok(duration),
    }
}

fn every_so_often(input: ParseStream) -> Result<Duration> {
    match duration(input, "every = \"10m\"")? {
        (every, text) if every < MOST_OFTEN => Err(Error::new(text.span(), "write no less than 100ms")),
        (every, text) if every > LONGEST => Err(Error::new(text.span(), "write a hundred years at most")),
        (every, _) => Ok(every),
    }
}

fn grace(input: ParseStream) -> Result<Duration> {
    match duration(input, "grace = \"60s\"")? {
        (Duration::ZERO, text) => Err(Error::new(text.span(), "write more than 0, or leave it out")),
        (grace, text) if grace > LONGEST_GRACE => {
            Err(Error::new(text.span(), "write a day at most: until then, nobody learns what is wrong"))
        }
        (grace, _) => Ok(grace),
    }
}

fn duration(input: ParseStream, example: &str) -> Result<(Duration, LitStr)> {
    let text = literal::<LitStr>(input, format!("a duration in quotes, as in `{example}` or \"500ms\""))?;
    match humantime::parse_duration(&text.value()) {
        Ok(duration) => Ok((duration, text)),
        Err(error) => {
            Err(Error::new(text.span(), format!("{error}: write a duration with its unit, as in \"2s\" or \"500ms\"")))
        }
    }
}

fn tags(input: ParseStream) -> Result<Vec<LitStr>> {
    words(input, "a list of words in quotes, as in `tags = [\"readiness\"]`", "a tag is one word, without spaces")
}

fn needs(input: ParseStream) -> Result<Vec<LitStr>> {
    words(
        input,
        "a list of checks in quotes, as in `needs = [\"shop.db\"]`",
        "a check is named by one word, without spaces",
    )
}

/// A list of words; `rule` says what each of them has to be.
fn words(input: ParseStream, wanted: &str, rule: &str) -> Result<Vec<LitStr>> {
    let list;
    if !input.peek(syn::token::Bracket) {
        return Err(input.error(format!("expected {wanted}")));
    }
    bracketed!(list in input);
    let words = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)
        .map_err(|error| Error::new(error.span(), format!("expected {wanted}")))?;
    match words.iter().find(|word| word.value().is_empty() || word.value().contains(char::is_whitespace)) {
        Some(word) => Err(Error::new(word.span(), rule)),
        None => Ok(words.into_iter().collect()),
    }
}

fn title(input: ParseStream) -> Result<LitStr> {
    let text = literal::<LitStr>(input, "one line of text in quotes, as in `title = \"Orders database answers.\"`")?;
    match text.value() {
        title if title.trim().is_empty() => Err(Error::new(text.span(), "the title is empty: say what is verified")),
        title if title.contains('\n') => Err(Error::new(text.span(), "the title has several lines: write one")),
        _ => Ok(text),
    }
}

fn expect(input: ParseStream) -> Result<Expect> {
    let text = literal::<LitStr>(input, "`expect = \"failure\"` or \"success\"")?;
    match text.value().as_str() {
        "failure" => Ok(Expect::Failure),
        "success" => Ok(Expect::Success),
        other => Err(Error::new(text.span(), format!("cannot expect {other:?}: write \"failure\" or \"success\""))),
    }
}

fn in_a_row(input: ParseStream) -> Result<u32> {
    let number = literal::<LitInt>(input, "a number of runs in a row, as in `fall = 3`")?;
    match number.base10_parse() {
        Ok(runs @ 1..=1000) => Ok(runs),
        Ok(_) | Err(_) => Err(Error::new(number.span(), "write how many runs in a row it takes, from 1 to 1000")),
    }
}

fn on_fail(input: ParseStream) -> Result<Severity> {
    let text = literal::<LitStr>(input, "`on_fail = \"warn\"` or \"fail\"")?;
    match text.value().as_str() {
        "warn" => Ok(Severity::Warn),
        "fail" => Ok(Severity::Fail),
        other => Err(Error::new(text.span(), format!("cannot make it {other:?}: write \"warn\" or \"fail\""))),
    }
}

fn blocking(input: ParseStream) -> Result<LitBool> {
    literal(input, "`blocking = false` or true")
}

fn literal<T: Parse>(input: ParseStream, wanted: impl Display) -> Result<T> {
    input.parse().map_err(|error| Error::new(error.span(), format!("expected {wanted}")))
}
