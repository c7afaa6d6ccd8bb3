//! A TOML file of checks: `[[check]]` tables with `use`, `name`, the common options and those of the kind.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::python::{self, MEMORY};
use super::spec::{COMMON, Common, Spec, is_label, schemes};
use super::{CollectedCheck, Collector};
use crate::checks::support::secrets;
use crate::checks::{Kind, Opt, Options, Value as OptionValue};
use crate::error::Error;
use crate::functions::registry;
use crate::model::check::Check;
use crate::model::id;

/// The keys of a table that are not options in the grammar of names.
const KEYS: [&str; 3] = ["name", "use", "tags"];

type Value<'i> = Spanned<DeValue<'i>>;

/// Collects the checks of one file, in their order.
pub(super) fn collect(path: &Path, text: &str, collector: &mut Collector<'_>) -> Result<(), Error> {
    // A full disk empties files. A comment is enough to show that somebody wants no check there.
    if text.trim().is_empty() {
        let why = "it is empty: remove it, or leave a comment in it, if it is to hold no check";
        return Err(Error::Usage(format!("{}: {why}", path.display())));
    }
    File { own: &collector.surroundings.own, path, text }.checks(collector)
}

struct File<'a> {
    /// The checks that the program adds to those that are registered.
    own: &'a [Check],
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn checks(&self, collector: &mut Collector<'_>) -> Result<(), Error> {
        // The parser's own rendering quotes the line, which may hold a secret.
        let document = DeTable::parse(self.text).map_err(|error| {
            let offset = error.span().map_or(self.text.len(), |span| span.start);
            self.wrong(offset, error.message())
        })?;
        for (key, value) in document.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("check", DeValue::Array(tables)) => {
                    for table in tables {
                        let found = self.table(table, collector)?;
                        collector.found.extend(found);
                    }
                }
                ("check", _) => return Err(self.wrong_at(key, "write [[check]], once for each check")),
                (name, _) => {
                    return Err(self.wrong_at(key, &format!("unknown key {}", secrets::unknown_name(name, &["check"]))));
                }
            }
        }
        Ok(())
    }

    /// The checks of one table: one, or as many as its dotted path has.
    fn table(&self, value: &Value<'_>, collector: &mut Collector<'_>) -> Result<Vec<CollectedCheck>, Error> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong_at(value, "write [[check]], a table for each check"));
        };
        let Some(used) = table.get("use") else {
            return Err(
                self.wrong_at(value, "this check has no `use`: say what it verifies, as in use = \"tcp://db:1\"")
            );
        };
        let name = table.get("name").map(|name| self.label(name)).transpose()?;
        match Spec::parse(self.string(used)?).map_err(|why| self.wrong_at(used, &why))? {
            Some(spec) if spec.is_of_python() => self.python(table, used, spec, name, collector),
            Some(spec) => Ok(vec![self.built_in(table, used, spec, name, collector)?]),
            None => self.dotted(table, used, name, collector),
        }
    }

    fn python(
        &self,
        table: &DeTable<'_>,
        used: &Value<'_>,
        spec: Spec,
        name: Option<&str>,
        collector: &mut Collector<'_>,
    ) -> Result<Vec<CollectedCheck>, Error> {
        if spec.label.is_some() {
            return Err(self.wrong_at(used, "a label has no place here: write name = \"…\""));
        }
        let mut options = spec.options;
        options.extend(self.options(table, &[MEMORY], None)?);
        let found =
            python::collect(&collector.surroundings.python, &spec.target, name, options, &mut collector.secrets)
                .map_err(|refusal| refusal.error(|why| self.wrong_at(used, why)))?;
        let from = self.place(used.span().start);
        collector.notes.extend(found.notes.iter().map(|note| format!("{from}: {note}")));
        let registered = found.are_unchanged;
        let checks = found.checks.into_iter();
        Ok(checks.map(|check| CollectedCheck { check, from: from.clone(), registered }).collect())
    }

    fn built_in(
        &self,
        table: &DeTable<'_>,
        used: &Value<'_>,
        mut spec: Spec,
        name: Option<&str>,
        collector: &mut Collector<'_>,
    ) -> Result<CollectedCheck, Error> {
        if spec.label.is_some() {
            return Err(self.wrong_at(used, "a label has no place here: write name = \"…\""));
        }
        let kind = spec.kind().map_err(|why| self.wrong_at(used, &why))?;
        spec.label = name.map(str::to_owned);
        let own: Vec<_> = kind.options.iter().map(Opt::name).collect();
        spec.options.extend(self.options(table, &own, Some(kind))?);
        super::verify_program(&spec)?;
        let (check, noted) = collector.build(spec).map_err(|why| self.wrong_at(used, &why))?;
        let from = self.place(used.span().start);
        collector.notes.extend(noted.iter().map(|note| format!("{from}: {note}")));
        Ok(CollectedCheck { check, from, registered: false })
    }

    /// Registered checks, or tests in Python, with the changes that the table makes.
    fn dotted(
        &self,
        table: &DeTable<'_>,
        used: &Value<'_>,
        name: Option<&str>,
        collector: &mut Collector<'_>,
    ) -> Result<Vec<CollectedCheck>, Error> {
        let path = self.string(used)?;
        let mut checks: Vec<_> = registry::at(path, self.own).collect();
        if checks.is_empty() && id::is_dotted(path) && collector.surroundings.python.is_set() {
            return self.python(table, used, Spec::of_python(path), name, collector);
        }
        if checks.is_empty() {
            let why = match id::is_dotted(path) {
                true => {
                    let known = registry::known(self.own);
                    format!("no check is registered at {:?} (known: {known})", secrets::quotable(path))
                }
                false => format!("it is neither a dotted path nor scheme:target (schemes: {})", schemes()),
            };
            return Err(self.wrong_at(used, &why));
        }
        collector.compiled_in.push(path.to_owned());
        let mut options = Options::new(self.options(table, &[], None)?);
        if checks.len() > 1 && (name.is_some() || options.names().any(|name| name == "title")) {
            let why = format!("{path:?} has {} checks, which cannot share a name or a title", checks.len());
            return Err(self.wrong_at(used, &why));
        }
        let common = Common::take(&mut options).map_err(|why| self.wrong_at(used, &why))?;
        for check in &mut checks {
            common.apply(check).map_err(|why| self.wrong_at(used, &why))?;
            if let Some(name) = name {
                check.id = name.to_owned();
            }
        }
        let from = self.place(used.span().start);
        let unchanged = table.len() == 1;
        Ok(checks
            .into_iter()
            .map(|check| CollectedCheck { check, from: from.clone(), registered: unchanged })
            .collect())
    }

    /// The keys that are options, in the words of the grammar: `tags` is a repeated `tag`.
    fn options(
        &self,
        table: &DeTable<'_>,
        own: &[&'static str],
        kind: Option<&Kind>,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut pairs = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if ["name", "use"].contains(&name) {
                continue;
            }
            let known: Vec<_> = KEYS.into_iter().chain(COMMON).chain(own.iter().copied()).collect();
            if !known.contains(&name) {
                return Err(self.wrong_at(key, &format!("unknown key {}", secrets::unknown_name(name, &known))));
            }
            let option = if name == "tags" { "tag" } else { name };
            let mut texts = self.texts(value)?;
            let option_of_kind = kind.and_then(|kind| kind.option(name));
            let is_list = option_of_kind.is_some_and(|option| option.value == OptionValue::List);
            if let (true, DeValue::Array(_), [only]) = (is_list, value.get_ref(), &mut texts[..]) {
                // A single value is split at its commas; the only value in an array must not be.
                *only = only.replace(',', "\\,");
            }
            pairs.extend(texts.into_iter().map(|text| (option.to_owned(), text)));
        }
        Ok(pairs)
    }

    /// The values of an option: a single one, those of an array, or `KEY=VALUE` for each entry of a table.
    fn texts(&self, value: &Value<'_>) -> Result<Vec<String>, Error> {
        match value.get_ref() {
            DeValue::Array(array) => array.iter().map(|value| self.scalar(value)).collect(),
            DeValue::Table(table) => {
                table.iter().map(|(key, value)| Ok(format!("{}={}", key.get_ref(), self.scalar(value)?))).collect()
            }
            _ => Ok(vec![self.scalar(value)?]),
        }
    }

    fn scalar(&self, value: &Value<'_>) -> Result<String, Error> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(on) => Ok(on.to_string()),
            DeValue::Datetime(moment) => Ok(moment.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => Err(self.wrong_at(value, "write one value here")),
        }
    }

    fn string<'t>(&self, value: &'t Value<'_>) -> Result<&'t str, Error> {
        value.get_ref().as_str().ok_or_else(|| self.wrong_at(value, "write a text here, in quotes"))
    }

    fn label<'t>(&self, value: &'t Value<'_>) -> Result<&'t str, Error> {
        let text = self.string(value)?;
        match is_label(text) {
            true => Ok(text),
            false => Err(self.wrong_at(value, "write a name with letters, digits, '_', '-' and '.'")),
        }
    }

    fn wrong_at<T>(&self, item: &Spanned<T>, why: &str) -> Error {
        self.wrong(item.span().start, why)
    }

    fn wrong(&self, offset: usize, why: &str) -> Error {
        Error::Usage(format!("{}: {why}", self.place(offset)))
    }

    /// `FILE:LINE:COLUMN` of a byte, counted from 1, the column in characters.
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Surroundings;
    use crate::model::check::{Deadline, Expect};
    use std::time::{Duration, Instant};

    fn read(text: &str) -> Result<Vec<Check>, String> {
        let surroundings = Surroundings::default();
        let mut collector = Collector::new(&surroundings, "x");
        File { own: &[], path: Path::new("c.toml"), text }.checks(&mut collector).map_err(|error| error.to_string())?;
        Ok(collector.found.into_iter().map(|found| found.check).collect())
    }

    #[test]
    fn a_table_is_a_check_with_its_options() {
        let checks = read(
            "[[check]]\nname = 'db'\nuse = 'tcp://db:5432'\ntitle = 'The database'\ntimeout = '2s'\n\
             tags = ['readiness', 'x']\nexpect = 'failure'\n[[check]]\nuse = 'tcp://mail:25'\ntimeout = 3\n",
        )
        .expect("it is good");
        let [db, mail] = &checks[..] else { panic!("there are two: {checks:?}") };
        assert_eq!((db.id.as_str(), db.title.as_str()), ("db", "The database"));
        assert_eq!((db.timeout, db.expect), (Duration::from_secs(2), Expect::Failure));
        assert_eq!(db.tags, ["readiness", "x"]);
        assert_eq!((mail.id.as_str(), mail.timeout), ("tcp://mail:25", Duration::from_secs(3)));
    }

    #[test]
    fn an_array_with_one_argument_is_one_argument() {
        for (args, context) in
            [("['1,  2']", "1,  2"), (r"['1\,  2']", r"1\,  2"), ("['1', '2,3']", "1 2,3"), ("'1,2'", "1 2")]
        {
            let checks = read(&format!("[[check]]\nuse = 'exec:/bin/echo'\nargs = {args}")).expect("it is good");
            let finding = checks[0].run(Deadline::at(Instant::now() + Duration::from_secs(10)));
            assert_eq!(finding.context.as_deref(), Some(context), "{args}");
        }
    }

    #[test]
    fn an_octal_number_of_toml_is_a_mode() {
        let checks = read("[[check]]\nuse = 'file:/'\nmode = 0o755").expect("it is good");
        assert_eq!(checks[0].options, [("mode".to_owned(), "0o755".to_owned())]);
    }

    #[test]
    fn a_registered_check_can_be_named_and_changed() {
        let text = "[[check]]\nuse = 'hospital::healthchecks::predictable::collected'\nname = 'known'\ntimeout = 1";
        let checks = read(text).expect("it is good");
        assert_eq!((checks[0].id.as_str(), checks[0].timeout), ("known", Duration::from_secs(1)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_column() {
        for (text, expected) in [
            (
                "[[check]]\nuse = 'tcp://db:1'\ntiemout = '2s'",
                "c.toml:3:1: unknown key \"tiemout\": do you mean \"timeout\"? (known: name, use, ",
            ),
            (
                "[[check]]\n  use = 'tpc://db:1'",
                "c.toml:2:9: there is no kind of check \"tpc\": do you mean \"tcp\"? (known: ",
            ),
            ("[[check]]\nuse = 'shop.db'", "c.toml:2:7: no check is registered at \"shop.db\" (known: hospital."),
            ("[[check]]\nuse = 'tcp://db'", "c.toml:2:7: the target is not HOST:PORT"),
            ("[[check]]\nname = 'db'", "c.toml:1:1: this check has no `use`"),
            ("[[check]]\nuse = 5", "c.toml:2:7: write a text here, in quotes"),
            ("[[check]]\nuse = 'tcp://db:1'\nname = 'a b'", "c.toml:3:8: write a name with letters"),
            ("[[check]]\nuse = 'a=tcp://db:1'", "c.toml:2:7: a label has no place here"),
            ("[[check]]\nuse = 'tcp://db:1'\ntags = [['x']]", "c.toml:3:9: write one value here"),
            ("[check]\nuse = 'tcp://db:1'", "c.toml:1:2: write [[check]]"),
            ("[[chek]]\nuse = 'tcp://db:1'", "c.toml:1:3: unknown key \"chek\": do you mean \"check\"? (known: check)"),
            ("[[check]]\nuse = 'tcp://u:hunter2@db:1\n", "c.toml:2:"),
            ("[[check]]\nuse = ' http://u:hunter2@h/'", "c.toml:2:7: it is neither a dotted path nor scheme:target"),
            ("[[check]]\nuse = 'http:/u:hunter2@h/'", "c.toml:2:7: the target is not a URL"),
            ("[[check]]\nuse = 'htp://u:hunter2@h/'", "c.toml:2:7: there is no kind of check \"htp\""),
            ("[[check]]\nuse = 'tcp://h:1'\nexpect = 'hunter2'", "c.toml:2:7: option expect: write success"),
            ("[[check]]\nuse = 'tcp://h:1'\n'u:hunter2@h' = 1", "c.toml:3:1: unknown key \"…\""),
            ("'u:hunter2@h' = 1", "c.toml:1:1: unknown key \"…\""),
            ("'bob-hunter2' = 1", "c.toml:1:1: unknown key \"…\""),
            ("[[check]]\nuse = 'tcp://h:1'\nbob-hunter2 = 1", "c.toml:3:1: unknown key \"…\""),
            ("[[check]]\nuse = 'tcp://h:1'\nname = 'u:hunter2@h'", "c.toml:3:8: write a name"),
            ("[[check]]\nuse = http://u:hunter2@h/", "c.toml:2:"),
            ("[[check]]\nuse = 'tcp://u:hunter2/@db:1'", "c.toml:2:7: a user or password holds a '/'"),
            ("[[check]]\nuse = 'tcp://db:1'\nuse = 'tcp://db:1'", "c.toml:3:1: duplicate key"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }
}
