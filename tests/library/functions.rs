//! The library as a program uses it: what `#[healthcheck]` does with functions, and what a run does with them.

use std::time::Duration;

use hospital::model::check::{Check, Expect, Status};
use hospital::{Registered, healthcheck};

/// Functions with the attribute, as in a foreign crate.
mod shop {
    use super::healthcheck;

    ///
    /// Orders are taken.
    ///
    /// This says more than fits a title.
    #[healthcheck(timeout = "1s 500ms", tags = ["readiness", "orders"], blocking = false)]
    pub(crate) fn documented() {}

    #[healthcheck()]
    pub(crate) fn spelled_in_words() -> hospital::Result {
        Ok(())
    }

    /// Not this.
    #[healthcheck(title = "This.")]
    pub(crate) fn r#match() -> Result<(), String> {
        Ok(())
    }

    pub(crate) mod r#mod {
        use super::healthcheck;

        #[healthcheck(expect = "failure")]
        fn panics() {
            panic!("got {}", 7);
        }

        #[healthcheck(expect = "success")]
        fn skips() -> hospital::Result {
            hospital::skip!("there is no {}", "printer");
        }
    }

    #[cfg(any())]
    #[healthcheck]
    fn left_out_above() {}

    #[healthcheck]
    #[cfg(any())]
    fn left_out_below() {}
}

#[test]
fn a_function_is_registered_by_its_path_and_can_still_be_called() {
    let ids: Vec<_> = hospital::registered().map(Registered::id).filter(|id| id.starts_with("integration.")).collect();
    assert_eq!(
        ids,
        [
            "integration.library.functions.scheduled.more_rarely",
            "integration.library.functions.scheduled.rarely",
            "integration.library.functions.shop.documented",
            "integration.library.functions.shop.match",
            "integration.library.functions.shop.mod.panics",
            "integration.library.functions.shop.mod.skips",
            "integration.library.functions.shop.spelled_in_words",
        ]
    );
    shop::documented();
    assert_eq!(shop::spelled_in_words(), Ok(()));
    assert_eq!(shop::r#match(), Ok(()));
}

#[test]
fn a_path_is_known_with_dots_and_with_colons() {
    assert!(hospital::is_healthcheck("integration.library.functions.shop.mod.skips"));
    assert!(hospital::is_healthcheck("integration::library::functions::shop::r#mod::skips"));
    assert!(!hospital::is_healthcheck("integration.library.functions.shop.mod"), "a module is not a healthcheck");
    assert!(!hospital::is_healthcheck("integration.library.functions.shop.left_out_above"));
}

#[test]
fn what_the_attribute_says_is_registered_and_the_rest_is_as_documented() {
    let full = registered("integration.library.functions.shop.documented");
    assert_eq!(full.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(full.tags, ["readiness", "orders"]);
    assert!(!full.blocking);

    let bare = registered("integration.library.functions.shop.spelled_in_words");
    assert_eq!((bare.timeout, bare.tags, bare.expect, bare.blocking), (None, &[][..], Expect::Success, true));
    assert_eq!(registered("integration.library.functions.shop.mod.panics").expect, Expect::Failure);
}

#[test]
fn a_title_is_given_or_documented_or_the_name_in_words() {
    assert_eq!(registered("integration.library.functions.shop.match").title, "This.");
    assert_eq!(registered("integration.library.functions.shop.documented").title, "Orders are taken.");
    assert_eq!(registered("integration.library.functions.shop.spelled_in_words").title, "Spelled in words");
}

#[test]
fn what_is_collected_runs_and_is_reported() {
    let suite = hospital::collect(&["integration::library::functions::shop::mod"]).expect("two checks are there");
    let report = hospital::run(suite, Duration::from_secs(60));
    assert!(report.passes());
    let [panics, skips] = &report.outcomes[..] else { panic!("two checks, two outcomes") };

    assert_eq!(panics.finding.status, Status::ExpectedFailure);
    let told = panics.finding.context.as_deref().expect("a panic has a message");
    assert!(told.starts_with("got 7 (at tests/library/functions.rs:"), "{told}");

    assert_eq!(skips.finding.status, Status::Skip);
    assert_eq!(skips.finding.context.as_deref(), Some("there is no printer"));
}

#[test]
fn a_name_that_collects_nothing_is_named_with_what_is_known() {
    let error =
        hospital::collect(&["integration.library.functions.ship"]).expect_err("there is no such module").to_string();
    assert!(
        error.starts_with("the program names \"integration.library.functions.ship\", but no check is registered there"),
        "{error}"
    );
    assert!(error.contains("integration.library.functions.shop.documented"), "{error}");
}

fn registered(id: &str) -> &'static Registered {
    hospital::registered().find(|check| check.id() == id).unwrap_or_else(|| panic!("{id} is not registered"))
}

#[test]
fn an_assertion_on_a_dead_target_fails_the_check_that_makes_it() {
    let answers = || -> hospital::Result {
        hospital::assert_tcp("127.0.0.1:1")?;
        Ok(())
    };
    let report = hospital::run(
        [std::sync::Arc::new(Check::new("answers", move |_| answers()))].into_iter().collect(),
        Duration::from_secs(10),
    );
    assert_eq!(report.outcomes[0].finding.status, Status::Fail);
}

mod scheduled {
    use hospital::healthcheck;

    #[healthcheck(every = "2s", fall = 3, grace = "1m")]
    fn rarely() {}

    #[healthcheck(every = "10m", timeout = "7s", rise = 2)]
    fn more_rarely() {}
}

#[test]
fn a_schedule_is_taken_with_the_time_that_it_leaves_a_check() {
    let check = |name: &str| Check::from(registered(&format!("integration.library.functions.scheduled.{name}")));
    let (rarely, more_rarely) = (check("rarely"), check("more_rarely"));
    let told = |check: &Check| check.schedule.map(|schedule| (schedule.every.as_secs(), schedule.fall, schedule.rise));
    assert_eq!((told(&rarely), told(&more_rarely)), (Some((2, 3, 1)), Some((600, 1, 2))));
    assert_eq!((rarely.timeout, more_rarely.timeout), (Duration::from_secs(2), Duration::from_secs(7)));
    assert_eq!((rarely.grace, more_rarely.grace), (Some(Duration::from_secs(60)), None));
}
