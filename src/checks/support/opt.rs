//! A row for each option of a kind: what it is called, what its value is, and what it means. Parsing, `hospital explain`, the
//! documentation and the schema for TOML files read the same rows.

/// An option of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Opt {
    /// The key, as in `free`.
    pub name: &'static str,
    /// What its value is.
    pub value: Value,
    /// What it means, in one line without a full stop.
    pub help: &'static str,
    /// What holds where it is not given.
    pub default: Option<&'static str>,
    /// Whether it may be given more than once.
    pub is_repeatable: bool,
    /// Whether a text may be empty: to most, that is a value that somebody forgot.
    pub may_be_empty: bool,
}

/// What the value of an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Any text, which may be shown.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// On or off; without a value, on.
    Flag,
    /// A number.
    Number,
    /// A time, such as `30s`.
    Time,
    /// A number of bytes, such as `5GiB`.
    Size,
    /// A share or a size, such as `10%`.
    Amount,
    /// A share, such as `10%`.
    Share,
    /// A regular expression.
    Pattern,
    /// An absolute path.
    Path,
    /// An IP address.
    Address,
    /// A URL, whose user and password are not shown.
    Url,
    /// A statement of SQL, which may be shown but for what it calls a secret.
    Statement,
    /// Any bytes, which are not shown.
    Bytes,
    /// Arguments of a program, separated by commas when there is one value.
    List,
    /// `Name: value`, a header field whose value is a secret.
    Field,
    /// `NAME=VALUE`, a variable whose value is a secret.
    Variable,
}

impl Opt {
    /// An option that is given once, or not at all.
    pub const fn new(name: &'static str, value: Value, help: &'static str) -> Opt {
        Opt { name, value, help, default: None, is_repeatable: false, may_be_empty: false }
    }

    /// The same with a default.
    pub const fn or(self, default: &'static str) -> Opt {
        Opt { default: Some(default), ..self }
    }

    /// The same, which may be given more than once.
    pub const fn repeatable(self) -> Opt {
        Opt { is_repeatable: true, ..self }
    }

    /// The same, whose text may be empty.
    pub const fn or_empty(self) -> Opt {
        Opt { may_be_empty: true, ..self }
    }

    /// What is wrong with a value that says nothing, or depends on where we are. What is not text is refused where it is read.
    pub(crate) fn refusal(&self, value: &str) -> Option<&'static str> {
        match self.value {
            Value::Text | Value::Statement | Value::Path | Value::Url if value.is_empty() && !self.may_be_empty => {
                Some("it has no value: give it one, or leave it out")
            }
            Value::Path if !value.starts_with('/') => Some("write an absolute path"),
            _ => None,
        }
    }

    /// Its name, as in `free`.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl Value {
    /// Whether it may be shown.
    pub(crate) fn is_public(self) -> bool {
        !matches!(self, Value::Bytes | Value::List | Value::Field | Value::Variable)
    }

    /// What stands for it in the description of an option.
    pub(crate) fn placeholder(self) -> String {
        let word = match self {
            Value::Word(words) => return words.join("|"),
            Value::Flag => return "true|false".to_owned(),
            Value::Text => "TEXT",
            Value::Statement => "SQL",
            Value::Number => "NUMBER",
            Value::Time => "TIME",
            Value::Size => "SIZE",
            Value::Amount => "AMOUNT",
            Value::Share => "SHARE",
            Value::Pattern => "REGEX",
            Value::Path => "PATH",
            Value::Address => "IP",
            Value::Url => "URL",
            Value::Bytes => "BYTES",
            Value::List => "ARGS",
            Value::Field => "NAME: VALUE",
            Value::Variable => "NAME=VALUE",
        };
        word.to_owned()
    }

    /// How such a value is written, where that is not plain.
    pub(crate) fn units(self) -> Option<&'static str> {
        match self {
            Value::Time => Some("TIME is 30, 30s, 500ms or 2m; a bare number is seconds"),
            Value::Size => Some("SIZE is a number of bytes, as 1000, 200MB or 5GiB"),
            Value::Amount => Some("AMOUNT is a share or a size, as 10%, 500MB or 5GiB"),
            Value::Share => Some("SHARE is from 0% to 100%"),
            Value::Pattern => Some("REGEX is searched line by line: ^ and $ are the ends of a line"),
            Value::Bytes => Some("BYTES are percent-encoded where they are not text, as in %00%D2"),
            Value::List => Some("ARGS are separated by commas, or one each where the option is repeated"),
            Value::Text
            | Value::Statement
            | Value::Word(_)
            | Value::Flag
            | Value::Number
            | Value::Path
            | Value::Address
            | Value::Url
            | Value::Field
            | Value::Variable => None,
        }
    }
}

/// The rows of two kinds of options as one.
#[cfg(feature = "tls")]
pub(in crate::checks) const fn joined<const A: usize, const B: usize, const C: usize>(
    first: [Opt; A],
    second: [Opt; B],
) -> [Opt; C] {
    assert!(A + B == C);
    let mut all = [Opt::new("", Value::Text, ""); C];
    let mut at = 0;
    while at < C {
        all[at] = if at < A { first[at] } else { second[at - A] };
        at += 1;
    }
    all
}
