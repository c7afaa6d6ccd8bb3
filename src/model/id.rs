//! Ids of checks: dotted paths, and lists of them for messages.

/// What no check can be called: at these paths the endpoint answers other questions, now or in the next version.
pub(crate) const RESERVED: [&str; 6] = ["livez", "readyz", "startupz", "metrics", "why", "history"];

/// Whether the dotted name `id` is `path` or is under it.
pub(crate) fn is_at(id: &str, path: &str) -> bool {
    id.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a name is meant as a dotted path.
pub(crate) fn is_dotted(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':'))
}

/// A path with `::` written as dots, and `r#match` as `match`.
pub(crate) fn dotted(path: &str) -> String {
    path.replace("r#", "").replace("::", ".")
}

/// The first names in full and the number of the others: a message stays on one line, however much was collected.
pub(crate) fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}
