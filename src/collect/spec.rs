//! `[label=]scheme:target[#options]` → a check of a built-in kind.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::checks::support::secrets::{self, Secrets};
use crate::checks::{BUILTINS, FEATURES, Kind, Opt, Options, Value};
use crate::model::check::{Check, DEFAULT_TIMEOUT, Expect, Severity};
use crate::model::duration;
use crate::model::id::listed;
use crate::model::schedule::{self, Schedule};
use crate::model::{sabotage, startup, text, transcript};

/// The options that every kind of check has.
pub(crate) const COMMON: [&str; 11] =
    ["timeout", "tag", "title", "expect", "on_fail", "needs", "every", "fall", "rise", "grace", "drill_allow"];

/// The scheme of tests in Python. It is no kind: one name may hold many.
pub(crate) const PYTHON: &str = "python";

/// A name split into its parts; nothing is verified yet.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// Its own name, in place of the one from scheme and target.
    pub(super) label: Option<String>,
    pub(super) scheme: String,
    pub(super) target: String,
    pub(super) options: Options,
}

impl Spec {
    /// Splits a name; `None` if it does not have this form.
    ///
    /// # Errors
    ///
    /// When the end of its password or the meaning of its bytes is ambiguous; nothing of the name is in the message.
    pub(super) fn parse(name: &str) -> Result<Option<Spec>, String> {
        if secrets::is_ambiguous(name) {
            return Err("a user or password holds a '/', '?' or '#': write %2F, %3F or %23 for it".to_owned());
        }
        let spec = Spec::split(name);
        match spec.as_ref().is_none_or(Spec::is_text) {
            true => Ok(spec),
            false => Err("a %XX stands for a byte that is not UTF-8: only what is to be sent may have such".to_owned()),
        }
    }

    /// Whether everything is text that must be.
    fn is_text(&self) -> bool {
        // A URL stays encoded.
        let is_url = self.target.strip_prefix("//").is_some_and(|rest| !rest.starts_with('/'));
        (is_url || percent_decode_str(&self.target).decode_utf8().is_ok())
            && self
                .options
                .are_text_but_for(|name| self.option(name).is_some_and(|option| option.value == Value::Bytes))
    }

    fn split(name: &str) -> Option<Spec> {
        let (label, rest) = match name.split_once('=') {
            Some((label, rest)) if is_label(label) && split_scheme(rest).is_some() => (Some(label.to_owned()), rest),
            _ => (None, name),
        };
        let (scheme, rest) = split_scheme(rest)?;
        let (target, options) = rest.split_once('#').unwrap_or((rest, ""));
        let pairs = options.split('&').filter(|option| !option.is_empty()).map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            (decoded(key), percent_decode_str(value).collect())
        });
        Some(Spec {
            label,
            scheme: scheme.to_owned(),
            target: target.to_owned(),
            options: Options::of_bytes(pairs.collect()),
        })
    }

    /// Whether it names tests in Python.
    pub(super) fn is_of_python(&self) -> bool {
        self.scheme == PYTHON
    }

    /// The same as a dotted name that nobody has registered.
    pub(super) fn of_python(name: &str) -> Spec {
        Spec { label: None, scheme: PYTHON.to_owned(), target: name.to_owned(), options: Options::default() }
    }

    /// The kind of check that the scheme names.
    pub(super) fn kind(&self) -> Result<&'static Kind, String> {
        self.known_kind().ok_or_else(|| match self.target.parse::<u16>() {
            Ok(port) => format!("a port is checked by tcp: write tcp://{}:{port}", self.scheme),
            Err(_) => match FEATURES.iter().find(|(schemes, ..)| schemes.contains(&self.scheme.as_str())) {
                Some((_, feature, _)) => format!(
                    "the kind {:?} is not in this build: build hospital with `--features {feature}`, or take a release, which has all",
                    self.scheme
                ),
                None => {
                    let meant = secrets::meant(&self.scheme, BUILTINS.iter().map(|kind| kind.scheme));
                    let meant = meant.map(|meant| format!(": do you mean {meant:?}?")).unwrap_or_default();
                    format!("there is no kind of check {:?}{meant} (known: {})", self.scheme, schemes())
                }
            },
        })
    }

    pub(super) fn known_kind(&self) -> Option<&'static Kind> {
        BUILTINS.iter().find(|kind| kind.scheme == self.scheme)
    }

    /// The option of this name of its kind.
    fn option(&self, name: &str) -> Option<Opt> {
        self.known_kind()?.option(name)
    }

    /// The name without secrets and options.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.scheme, secrets::shown(&self.target))
    }

    /// The same for a name that may be malformed: what could not be understood is not shown.
    pub(super) fn quotable(&self) -> String {
        let label = self.label.as_ref().map(|label| format!("{label}=")).unwrap_or_default();
        format!("{label}{}:{}", self.scheme, secrets::quotable_target(&self.target))
    }

    /// Its secrets, which must not be shown.
    fn secrets(&self) -> Secrets {
        let options = self.known_kind().map_or(&[][..], |kind| kind.options);
        options.iter().fold(Secrets::of(&self.target), |secrets, option| match option.value {
            Value::Field => secrets.and_fields(self.options.values(option.name)),
            Value::Variable => secrets.and_variables(self.options.values(option.name)),
            Value::Bytes => secrets.and_sent(self.options.values(option.name)),
            Value::Statement | Value::Url => secrets.and_named(self.options.values(option.name)),
            // A name and its value may be two arguments.
            Value::List => {
                let all = self.options.values(option.name).flat_map(|list| list.split(',')).collect::<Vec<_>>();
                secrets.and_named([all.join(" ").as_str()].into_iter().chain(self.options.values(option.name)))
            }
            Value::Text
            | Value::Word(_)
            | Value::Flag
            | Value::Number
            | Value::Time
            | Value::Size
            | Value::Amount
            | Value::Share
            | Value::Pattern
            | Value::Path
            | Value::Address => secrets,
        })
    }

    /// What the kind gets: a URL unchanged, anything else decoded.
    pub(super) fn plain_target(&self) -> String {
        match self.target.strip_prefix("//") {
            // The authority is empty: there is only a path.
            Some(path) if path.starts_with('/') => decoded(path),
            Some(_) => self.target.clone(),
            None => decoded(&self.target),
        }
    }

    /// The check, and what looks like a mistake in it; the suite learns its secrets. The error is one line, without the
    /// name and without secrets.
    pub(super) fn build(mut self, suite: &mut Secrets) -> Result<(Check, Vec<String>), String> {
        let kind = self.kind()?;
        let unknown = self.options.names().find(|name| kind.option(name).is_none() && !COMMON.contains(name));
        if let Some(unknown) = unknown {
            let known: Vec<_> = COMMON.into_iter().chain(kind.options.iter().map(Opt::name)).collect();
            return Err(format!("the kind {:?} has no option {}", kind.scheme, secrets::unknown_name(unknown, &known)));
        }
        let refusal = |option: &Opt| self.options.values(option.name).find_map(|value| option.refusal(value));
        if let Some((option, why)) = kind.options.iter().find_map(|option| Some((option.name, refusal(option)?))) {
            return Err(format!("option {option}: {why}"));
        }
        let common = Common::take(&mut self.options)?;
        let definition = hash(&(&self.scheme, &self.target, self.options.pairs()));
        let hidden = self.secrets().within(suite);
        self.options.hide(hidden.clone());
        let action = (kind.build)(&self.plain_target(), &mut self.options).map_err(|error| hidden.scrub(&error))?;
        if let Some(unused) = self.options.left_over() {
            return Err(format!("the option {unused:?} means nothing for this target"));
        }
        let is_shown = |name: &str| kind.option(name).is_some_and(|option| option.value.is_public());
        let shown = self.options.taken().iter().filter(|(name, _)| is_shown(name));
        let is_url = |name: &str| kind.option(name).is_some_and(|option| option.value == Value::Url);
        let shown: Vec<_> = shown
            .map(|(name, value)| {
                let value = if is_url(name) { secrets::shown_url(value) } else { value.clone() };
                (name.clone(), text::line(&hidden.scrub(&value)).into_owned())
            })
            .collect();
        let is_path = |name: &str| kind.option(name).is_some_and(|option| option.value == Value::Path);
        let files = self.options.taken().iter().filter(|(name, path)| is_path(name) && path.starts_with('/'));
        let files = files.map(|(_, path)| path.into()).collect();
        let notes = self.options.take_notes().iter().map(|note| hidden.scrub(note)).collect();
        let target = secrets::shown(&self.target);
        let title = kind.title.replace("{target}", target.strip_prefix("//").unwrap_or(&target));
        let id = self.label.clone().unwrap_or_else(|| self.shown());
        // The kinds keep secrets out of their own words, but not out of those of servers and libraries.
        let scrubbed = move |deadline| {
            secrets::forget_learned();
            let mut finding = action(deadline);
            if !hidden.is_empty() {
                finding.context = finding.context.map(|context| hidden.scrub(&context));
            }
            finding.transcript =
                transcript::take(|text| if hidden.is_empty() { text } else { hidden.scrub_cut(&text) });
            finding
        };
        let mut check = Check {
            blocking: kind.runs.blocks(),
            kind: kind.scheme,
            code: kind.runs.code(),
            controls: kind.controls,
            options: shown,
            files,
            target: target.clone(),
            ..Check::new(id, scrubbed).title(title)
        };
        check.definition = definition;
        common.apply(&mut check)?;
        Ok((check, notes))
    }
}

/// How often a schedule may run a check. A worker looks at what is due a few times a second.
const MOST_OFTEN: Duration = Duration::from_millis(100);

/// The options of every kind, and of registered checks named in a file.
#[derive(Debug)]
pub(super) struct Common {
    timeout: Option<Duration>,
    tags: Vec<String>,
    title: Option<String>,
    expect: Option<Expect>,
    grace: Option<Duration>,
    every: Option<Duration>,
    fall: Option<u32>,
    rise: Option<u32>,
    on_fail: Option<Severity>,
    needs: Vec<String>,
    drill_allow: Vec<(&'static str, String)>,
}

impl Common {
    pub(super) fn take(options: &mut Options) -> Result<Common, String> {
        let timeout = options.parse("timeout", duration::parse_some)?;
        let expect = options.parse("expect", |text| match text {
            "success" => Ok(Expect::Success),
            "failure" => Ok(Expect::Failure),
            _ => Err("write success or failure"),
        })?;
        let every = options.parse("every", |text| match duration::parse(text)? {
            every if every < MOST_OFTEN => Err(format!("write no less than {}", duration::spoken(MOST_OFTEN))),
            every => Ok(every),
        })?;
        let in_a_row = |text: &str| match text.parse() {
            Ok(runs) if (1..=schedule::MOST_IN_A_ROW).contains(&runs) => Ok(runs),
            Ok(_) | Err(_) => {
                Err(format!("write how many runs in a row it takes, from 1 to {}", schedule::MOST_IN_A_ROW))
            }
        };
        let (fall, rise) = (options.parse("fall", in_a_row)?, options.parse("rise", in_a_row)?);
        let grace = options.parse("grace", |text| match duration::parse(text)? {
            Duration::ZERO => Err("write more than 0, or leave it out".to_owned()),
            grace if grace > startup::LONGEST => Err(format!(
                "write {} at most: until then, nobody learns what is wrong",
                duration::spoken(startup::LONGEST)
            )),
            grace => Ok(grace),
        })?;
        let on_fail = options.parse("on_fail", |text| match text {
            "fail" => Ok(Severity::Fail),
            "warn" => Ok(Severity::Warn),
            _ => Err("write fail or warn"),
        })?;
        let needs = options.take_all("needs");
        if needs.iter().any(|name| name.contains(text::is_obeyed) || name.is_empty()) {
            return Err("option needs: write the id of another check, or a path that several are under".to_owned());
        }
        let title = options.parse("title", |text| match text.contains(text::is_obeyed) || text.is_empty() {
            true => Err("a title is one line of text"),
            false => Ok(text.to_owned()),
        })?;
        let drill_allow =
            options.take_all("drill_allow").iter().map(|text| accepted(text)).collect::<Result<Vec<_>, _>>()?;
        let tags = options.take_all("tag");
        match tags.iter().find(|tag| !is_label(tag)) {
            Some(_) => Err("option tag: write letters, digits, '_', '-' and '.'".to_owned()),
            None => {
                let drill_allow = drill_allow.concat();
                Ok(Common { timeout, tags, title, expect, on_fail, needs, every, fall, rise, grace, drill_allow })
            }
        }
    }

    /// Given options replace those of the check, except tags and needs, which are added.
    ///
    /// # Errors
    ///
    /// When the schedule and the timeout do not go together, or there is no schedule to count on.
    pub(super) fn apply(&self, check: &mut Check) -> Result<(), String> {
        check.timeout = self.timeout.unwrap_or(check.timeout);
        let before = check.schedule.map(|Schedule { every, fall, rise }| (every, Some(fall), Some(rise)));
        let (every, fall, rise) = before.map_or((None, None, None), |(every, fall, rise)| (Some(every), fall, rise));
        let (fall, rise) = (self.fall.or(fall), self.rise.or(rise));
        check.schedule = match self.every.or(every) {
            Some(every) => Some(Schedule { every, fall: fall.unwrap_or(1), rise: rise.unwrap_or(1) }),
            None if fall.is_some() => return Err(uncounted("fall")),
            None if rise.is_some() => return Err(uncounted("rise")),
            None => None,
        };
        if let Some(Schedule { every, .. }) = check.schedule
            && every < check.timeout
        {
            if self.timeout.is_some() || check.timeout != DEFAULT_TIMEOUT {
                let (every, timeout) = (duration::spoken(every), duration::spoken(check.timeout));
                return Err(format!("option every: {every} is shorter than the timeout of {timeout}: write no less"));
            }
            check.timeout = every;
        }
        check.expect = self.expect.unwrap_or(check.expect);
        check.grace = self.grace.or(check.grace);
        check.on_fail = self.on_fail.unwrap_or(check.on_fail);
        check.needs.extend(self.needs.iter().filter(|name| !check.needs.contains(name)).cloned().collect::<Vec<_>>());
        check.title = self.title.clone().unwrap_or_else(|| std::mem::take(&mut check.title));
        check.drill_allow.extend(self.drill_allow.iter().cloned());
        check.tags.extend(self.tags.iter().filter(|tag| !check.tags.contains(tag)).cloned().collect::<Vec<_>>());
        let every = check.schedule.map(|schedule| schedule.every);
        check.definition = hash(&(check.definition, check.timeout, every, check.expect == Expect::Failure));
        Ok(())
    }
}

/// Reads `stranger,rubbish: the reason`: sabotages that a check need not notice.
fn accepted(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    let (words, reason) = text.split_once(':').unwrap_or((text, ""));
    let reason = text::line(reason.trim()).into_owned();
    let word = |word: &str| {
        let known = || format!("option drill_allow: write one of {}", sabotage::WORDS.join(", "));
        sabotage::word(word.trim()).map(|word| (word, reason.clone())).ok_or_else(known)
    };
    words.split(',').map(word).collect()
}

fn uncounted(option: &str) -> String {
    format!("option {option}: it counts the runs of a schedule: write every=TIME, too")
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// All schemes, for a message.
pub(super) fn schemes() -> String {
    listed(BUILTINS.iter().map(|kind| kind.scheme).chain([PYTHON]).map(str::to_owned))
}

/// Whether this can be the name of a check: it will be in URLs and in lists.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Splits after the scheme, if there is one in the sense of RFC 3986: a Rust path has none, but `ping:::1` does.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let proper = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_path = rest.starts_with(':') && !rest.starts_with("::");
    (proper && !is_path).then_some((scheme, rest))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A name as it may be shown, with its options: `***` replaces each secret, and what cannot be understood.
#[doc(hidden)]
pub fn without_secrets(name: &str) -> String {
    match Spec::parse(name) {
        Ok(None) if Path::new(name).exists() => name.to_owned(),
        Ok(None) => secrets::quotable(name).to_owned(),
        Err(_) => "***".to_owned(),
        Ok(Some(spec)) if spec.is_of_python() => name.to_owned(),
        Ok(Some(spec)) if spec.clone().build(&mut Secrets::default()).is_err() => {
            let options = if spec.options.names().next().is_some() { "#***" } else { "" };
            spec.quotable() + options
        }
        Ok(Some(spec)) => {
            let secrets = spec.secrets();
            let shown = |part: &str| match decoded(part) {
                plain if secrets.scrub(&plain) == plain => part.to_owned(),
                plain => secrets.scrub(&plain),
            };
            let parts: Vec<_> = name.split_inclusive(['#', '&']).map(shown).collect();
            secrets.scrub(&parts.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;

    fn build(name: &str) -> Result<Check, String> {
        Spec::split(name).expect("it has a scheme").build(&mut Secrets::default()).map(|(check, _)| check)
    }

    #[test]
    fn a_name_is_taken_apart() {
        let spec = Spec::split("db=tcp://db:5432#send=a%26b&tag=x&tag=y").expect("it has a scheme");
        assert_eq!(
            (spec.label.as_deref(), spec.scheme.as_str(), spec.target.as_str()),
            (Some("db"), "tcp", "//db:5432")
        );
        let mut options = spec.options;
        assert_eq!(options.take("send"), Ok(Some("a&b".to_owned())));
        assert_eq!(options.take_all("tag"), ["x", "y"]);
    }

    #[test]
    fn an_equals_sign_further_on_is_no_label() {
        let spec = Spec::split("http://shop/?a=b:c").expect("it has a scheme");
        assert_eq!((spec.label, spec.target.as_str()), (None, "//shop/?a=b:c"));
    }

    #[test]
    fn what_has_no_scheme_is_of_another_form() {
        for name in ["shop.db", "shop::db", "/etc/a:b", "./a:b", "healthchecks.toml", ""] {
            assert!(Spec::split(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_address_of_colons_is_a_target() {
        let spec = Spec::split("me=ping:::1").expect("it has a scheme");
        assert_eq!((spec.label.as_deref(), spec.target.as_str()), (Some("me"), "::1"));
    }

    #[test]
    fn a_milder_threshold_warns_and_one_that_never_would_is_refused() {
        let now = std::time::Instant::now() + Duration::from_secs(60);
        let run = |name: &str| build(name).expect(name).run(crate::model::check::Deadline::at(now));
        for name in [
            "disk:/#free=0%&warn_free=100%",
            "memory:#available=0%&warn_available=100%",
            "file:/etc/passwd#max_age=50y&warn_max_age=1ms",
            "file:/etc/passwd#min_size=1&warn_min_size=1GiB",
            "file:/etc/passwd#warn_max_size=1",
        ] {
            let found = run(name);
            assert_eq!((found.status, found.perfdata.is_empty()), (Status::Warn, false), "{name}: {found:?}");
        }
        assert_eq!(run("disk:/#free=0%&warn_free=0.0001%").status, Status::Pass);
        for (name, error) in [
            ("disk:/#warn_free=5%", "option warn_free: it has to be more than free=10%, or it would never warn"),
            ("disk:/#inodes=5%&warn_inodes=5%", "option warn_inodes: it has to be more than inodes=5%"),
            ("memory:#available=10%&warn_available=5%", "option warn_available: it has to be more"),
            ("load:#max=1&warn_max=2", "option warn_max: it has to be less than max=1"),
            ("cert:shop#warn_days=7", "option warn_days: it has to be more than days=14"),
            ("http://shop/#slow=1s&warn_slow=2s", "option warn_slow: it has to be less than slow=1s"),
            ("file:/x#max_age=1h&warn_max_age=2h", "option warn_max_age: it has to be less than max_age=1h"),
            ("file:/x#min_size=2kB&warn_min_size=1kB", "option warn_min_size: it has to be more than min_size="),
            ("ping:db#loss=10%&warn_loss=20%", "option warn_loss: it has to be less than loss=10%"),
            ("process:nginx#max=4&warn_max=5", "option warn_max: it has to be less than max=4"),
            ("pressure:memory#warn_some=20%", "option warn_some: it has to be less than some=10%"),
        ] {
            let refused = build(name).expect_err(name);
            assert!(refused.starts_with(error), "{name}: {refused}");
        }
    }

    #[test]
    fn a_path_is_decoded_and_a_url_is_not() {
        for (name, target) in [
            ("exec:/opt/my%20check", "/opt/my check"),
            ("unix:///run/my%20app.sock", "/run/my app.sock"),
            ("http://shop/my%20page", "//shop/my%20page"),
        ] {
            assert_eq!(Spec::split(name).expect("it has a scheme").plain_target(), target);
        }
    }

    #[test]
    fn the_id_is_the_label_or_what_the_name_says() {
        assert_eq!(build("db=tcp://db:5432").expect("it is good").id, "db");
        let check = build("tcp://db:5432#timeout=2s&tag=readiness&expect=failure").expect("it is good");
        assert_eq!(check.id, "tcp://db:5432");
        assert_eq!(check.title, "db:5432 accepts connections");
        assert_eq!((check.timeout, check.expect), (Duration::from_secs(2), Expect::Failure));
        assert_eq!(check.tags, ["readiness"]);
        assert_eq!(build("tcp://db:1#title=The%20database").expect("it is good").title, "The database");
    }

    #[test]
    fn a_password_is_in_no_id_no_title_and_no_error() {
        for name in ["tcp://user:hunter2@db:5432", "tcp://user:hunter2@db"] {
            let spec = Spec::split(name).expect("it has a scheme");
            assert!(!spec.shown().contains("hun"), "{}", spec.shown());
            match spec.build(&mut Secrets::default()) {
                Ok((check, _)) => assert!(!format!("{} {}", check.id, check.title).contains("hunter2")),
                Err(error) => assert!(!error.contains("hunter2"), "{error}"),
            }
        }
    }

    #[test]
    fn print_config_shows_no_encoded_and_no_ambiguous_secret() {
        for (name, shown) in [
            ("http://shop/#header=Authorization:%20Bearer%20s3cr%2Fet%3D", "http://shop/#header=Authorization: ***"),
            (
                "https://shop/#header=X-Api-Key:%20abc%2Bdef&title=a%20b",
                "https://shop/#header=X-Api-Key: ***&title=a%20b",
            ),
            ("exec:/bin/sh#env=PASSWORD=hunter%202&args=-c", "exec:/bin/sh#env=PASSWORD=***&args=-c"),
            ("http://user:p%40ss@shop/?token=a%20b12&x=%20#slow=1s", "http://***@shop/?token=***&x=%20#slow=1s"),
            ("http://user:pa/ss@shop", "***"),
            ("db=http://user:12#34@shop", "***"),
            (" http://user:hunter2@shop/", "…"),
            ("//user:hunter2@shop/", "…"),
            ("http:/user:hunter2@shop/", "http:…"),
            ("db=htp://user:hunter2@shop/", "db=htp://***@shop/"),
            ("http://shop/#haeder=X-Token:%20hunter2", "http://shop/#***"),
            ("http://shop:80/a-b#status=hunter2", "http://shop:80/a-b#***"),
            ("tcp://db:5432#send=%D2%04", "tcp://db:5432#send=%D2%04"),
            ("shop.db", "shop.db"),
        ] {
            assert_eq!(without_secrets(name), shown, "{name}");
        }
    }

    #[test]
    fn a_path_that_is_not_utf8_is_refused_and_not_changed() {
        for name in ["file:/tmp/%FF.lock#absent", "unix:///run/%FF", "tcp://db:1#match=%FF"] {
            assert!(Spec::parse(name).expect_err(name).starts_with("a %XX stands for a byte that is not UTF-8"));
        }
        for name in ["http://shop/%FF", "tcp://db:1#send=%FF"] {
            assert!(Spec::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_path_that_depends_on_where_we_are_is_refused_in_each_kind() {
        let paths = BUILTINS.iter().flat_map(|kind| kind.options.iter().map(move |option| (kind, option)));
        let mut seen = 0;
        for (kind, option) in paths.filter(|(_, option)| option.value == Value::Path) {
            let (example, _) = kind.examples[0].split_once('#').unwrap_or((kind.examples[0], ""));
            for (value, why) in [("run/x", "write an absolute path"), ("", "it has no value: give it one")] {
                let name = format!("{example}#{}={value}", option.name);
                let error = build(&name).expect_err(&name);
                assert!(error.starts_with(&format!("option {}: {why}", option.name)), "{name}: {error}");
            }
            seen += 1;
        }
        assert!(seen > 3);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_known() {
        for (name, expected) in [
            ("tpc://db:5432", "there is no kind of check \"tpc\": do you mean \"tcp\"? (known: tcp"),
            (
                "tcp://db:5432#tiemout=2s",
                "the kind \"tcp\" has no option \"tiemout\": do you mean \"timeout\"? (known: ",
            ),
            ("disk:/#Free=5%", "the kind \"disk\" has no option \"Free\": do you mean \"free\"? (known: "),
            ("postgresql://db", "there is no kind of check \"postgresql\": do you mean \"postgres\"? (known: tcp"),
            ("HTTPS://shop/", "there is no kind of check \"HTTPS\": do you mean \"https\"? (known: tcp"),
            ("postgres://db#min=1", "option min: it is of a query: give query, too"),
            ("redis://db#replicas=-1", "option replicas: write a whole number"),
            ("http://shop/#redirects=4294967296", "option redirects: it is too large: write a smaller number"),
            ("ping:db#loss=5", "option loss: write a percentage from 0% to 100%"),
            ("tcp://db:5432#timeout=2parsec", "option timeout: write a time as 30, 30s, 500ms or 2m"),
            ("tcp://db:5432#timeout=0", "option timeout: it has to be longer than 0"),
            ("tcp://db:5432#every=0", "option every: write no less than 100ms"),
            ("tcp://db:5432#every=99ms", "option every: write no less than 100ms"),
            ("tcp://db:5432#every=2s&timeout=3s", "option every: 2s is shorter than the timeout of 3s: write no less"),
            ("tcp://db:5432#every=10s&fall=0", "option fall: write how many runs in a row it takes, from 1 to 1000"),
            ("tcp://db:5432#every=10s&rise=many", "option rise: write how many runs in a row"),
            ("tcp://db:5432#rise=2", "option rise: it counts the runs of a schedule: write every=TIME, too"),
            ("tcp://db:5432#fall=2", "option fall: it counts the runs of a schedule: write every=TIME, too"),
            ("tcp://db:5432#grace=0", "option grace: write more than 0, or leave it out"),
            ("tcp://db:5432#grace=1y", "option grace: write 1day at most: until then, nobody learns"),
            ("tcp://db:5432#expect=luck", "option expect: write success or failure"),
            ("package:nginx#version=", "option version: it has no value: give it one, or leave it out"),
            ("user:root#group=adm&group=", "option group: it has no value: give it one, or leave it out"),
            ("user:root#home", "option home: it has no value: give it one, or leave it out"),
            ("mount:/#option=", "option option: it has no value: give it one, or leave it out"),
            ("tcp://db:5432#timeout=1&timeout=2", "option \"timeout\" is given 2 times: give it once"),
            ("tcp://db:5432#tag=a b", "option tag: write letters, digits, '_', '-' and '.'"),
            ("tcp://db", "the target is not HOST:PORT, as in tcp://db:5432"),
        ] {
            let error = build(name).expect_err(name);
            assert!(error.starts_with(expected), "{name}: {error}");
        }
    }
}
