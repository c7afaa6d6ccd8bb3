//! The options of one check: what follows the `#` of a name, or the keys of a TOML table.

use std::str::FromStr;

use super::secrets::Secrets;
use crate::state::StateDir;

/// Keys with their values, in the order in which they were written. A builder takes out the options that it knows;
/// those left over are unknown.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The values are text, except those of an option that takes any bytes.
    pairs: Vec<(String, Vec<u8>)>,
    hidden: Secrets,
    /// What was taken out, defaults included.
    taken: Vec<(String, String)>,
    notes: Vec<String>,
    state: Keeps,
}

/// Where a check finds what was kept for it.
#[derive(Clone, Debug, Default)]
enum Keeps {
    /// Nobody said: the check is only looked at.
    #[default]
    Unsaid,
    Nowhere,
    There(StateDir),
}

impl Options {
    /// These options, already decoded.
    pub fn new(pairs: Vec<(String, String)>) -> Options {
        let mut options = Options::default();
        options.extend(pairs);
        options
    }

    /// These options, whose values may be any bytes.
    pub(crate) fn of_bytes(pairs: Vec<(String, Vec<u8>)>) -> Options {
        Options { pairs, ..Options::default() }
    }

    /// Keeps these secrets out of all quotations from what a check receives.
    pub(crate) fn hide(&mut self, secrets: Secrets) {
        self.hidden = secrets;
    }

    /// Finds what is kept in this folder.
    pub(crate) fn keep_in(&mut self, state: Option<StateDir>) {
        self.state = state.map_or(Keeps::Nowhere, Keeps::There);
    }

    /// The state dir; `None` for a check that is not going to run.
    ///
    /// # Errors
    ///
    /// What to do where there is none.
    pub(in crate::checks) fn state_dir(&self) -> Result<Option<StateDir>, String> {
        match &self.state {
            Keeps::Unsaid => Ok(None),
            Keeps::There(state) => Ok(Some(state.clone())),
            Keeps::Nowhere => Err("it looks into the state dir, and there is none: give --state-dir DIR, or set \
                                   HOSPITAL_STATE_DIR"
                .to_owned()),
        }
    }

    /// The secrets that must not be quoted.
    pub(crate) fn hidden(&self) -> Secrets {
        self.hidden.clone()
    }

    /// These options, for a test.
    #[cfg(test)]
    pub(in crate::checks) fn of(pairs: &[(&str, &str)]) -> Options {
        Options::new(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The values of an option, without taking them out.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(name, _)| name == key).filter_map(|(_, value)| str::from_utf8(value).ok())
    }

    /// Those that were not taken out.
    pub(crate) fn pairs(&self) -> &[(String, Vec<u8>)] {
        &self.pairs
    }

    /// Whether all values are text, except those of options that may be `any` bytes.
    pub(crate) fn are_text_but_for(&self, any: impl Fn(&str) -> bool) -> bool {
        self.pairs.iter().all(|(name, value)| any(name) || str::from_utf8(value).is_ok())
    }

    /// Adds more options.
    pub(crate) fn extend(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.pairs.extend(pairs.into_iter().map(|(name, value)| (name, value.into_bytes())));
    }

    /// Takes out every value of a repeatable option.
    pub fn take_all(&mut self, key: &str) -> Vec<String> {
        self.take_bytes(key).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The same for an option that is `default` unless it is given.
    pub fn take_all_or(&mut self, key: &str, default: &str) -> Vec<String> {
        self.default_to(key, default);
        self.take_all(key)
    }

    fn default_to(&mut self, key: &str, default: &str) {
        if !self.names().any(|name| name == key) {
            self.extend([(key.to_owned(), default.to_owned())]);
        }
    }

    fn take_bytes(&mut self, key: &str) -> Vec<Vec<u8>> {
        let values: Vec<_> = self.pairs.extract_if(.., |(name, _)| name == key).map(|(_, value)| value).collect();
        if !values.is_empty() {
            self.taken.push((key.to_owned(), String::from_utf8_lossy(&values.join(&b',')).into_owned()));
        }
        values
    }

    /// Takes out the value of an option that may be given once.
    ///
    /// # Errors
    ///
    /// When it is given more than once.
    pub fn take(&mut self, key: &str) -> Result<Option<String>, String> {
        let value = self.take_one(key)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// The same for an option that takes any bytes.
    pub(in crate::checks) fn take_one(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let mut values = self.take_bytes(key);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            n => Err(format!("option {key:?} is given {n} times: give it once")),
        }
    }

    /// Takes out an option and reads it with `parse`, whose error is appended to the option's name. The value is not
    /// shown: what cannot be read may be a secret in a wrong place.
    ///
    /// # Errors
    ///
    /// When it is given more than once or cannot be read.
    pub fn parse<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        match self.take(key)? {
            None => Ok(None),
            Some(value) => parse(&value).map(Some).map_err(|error| format!("option {key}: {error}")),
        }
    }

    /// Takes out an option that is `default` unless it is given.
    ///
    /// # Errors
    ///
    /// Those of [`Options::parse`].
    pub fn parse_or<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, String> {
        self.default_to(key, default);
        Ok(self.parse(key, parse)?.expect("it is given by now"))
    }

    /// Takes out an option whose value is a whole number.
    pub(in crate::checks) fn whole<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, String> {
        self.parse(key, whole)
    }

    /// Refuses these options where the one is not given that they are about.
    pub(in crate::checks) fn go_with(&self, needed: &str, what: &str, names: &[&str]) -> Result<(), String> {
        let is_given = |name: &&&str| self.names().any(|given| given == **name);
        match names.iter().find(is_given) {
            Some(name) if !is_given(&&needed) => Err(format!("option {name}: it is of {what}: give {needed}, too")),
            Some(_) | None => Ok(()),
        }
    }

    /// What was taken out, with the defaults of what was not given; several values of one option are one with commas.
    pub fn taken(&self) -> &[(String, String)] {
        &self.taken
    }

    /// Notes what is allowed and yet looks like a mistake, in one line.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes out the notes.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Takes out an option that is on or off: `#insecure` and `#insecure=true` mean the same.
    ///
    /// # Errors
    ///
    /// When it is given more than once or is neither `true` nor `false`.
    pub fn flag(&mut self, key: &str) -> Result<bool, String> {
        let read = |value: &str| match value {
            "" | "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("write true or false"),
        };
        Ok(self.parse(key, read)?.unwrap_or(false))
    }

    /// The names of the options, repeated ones repeatedly.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    /// The name of an option that was not taken out.
    pub fn left_over(&self) -> Option<&str> {
        self.pairs.first().map(|(name, _)| name.as_str())
    }
}

/// What is wrong with a number that is more than can be meant.
pub(in crate::checks) const TOO_LARGE: &str = "it is too large: write a smaller number";

/// Reads a whole number, if it is one that `T` has.
pub(in crate::checks) fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    let is_too_large = text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_too_large { TOO_LARGE } else { "write a whole number" };
    text.parse().map_err(|_| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_the_rest_is_left_over() {
        let mut options = Options::of(&[("header", "a: 1"), ("status", "200"), ("header", "b: 2")]);
        assert_eq!(options.take_all("header"), ["a: 1", "b: 2"]);
        assert_eq!(options.left_over(), Some("status"));
        assert_eq!(options.parse("status", str::parse::<u16>), Ok(Some(200)));
        assert_eq!(options.left_over(), None);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_option() {
        let error = Options::of(&[("status", "x")]).parse("status", str::parse::<u16>);
        assert_eq!(error, Err("option status: invalid digit found in string".to_owned()));
    }

    #[test]
    fn a_flag_is_on_without_a_value() {
        for (value, on) in [("", true), ("true", true), ("false", false)] {
            assert_eq!(Options::of(&[("insecure", value)]).flag("insecure"), Ok(on));
        }
        assert_eq!(Options::of(&[]).flag("insecure"), Ok(false));
        let error = Options::of(&[("insecure", "yes")]).flag("insecure");
        assert_eq!(error, Err("option insecure: write true or false".to_owned()));
    }

    #[test]
    fn an_option_given_twice_is_an_error() {
        assert!(Options::of(&[("send", "1"), ("send", "2")]).take("send").is_err());
    }
}
