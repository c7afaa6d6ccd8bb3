//! A check with a known answer: it shows that collecting, running and reporting work.

use crate::healthcheck;

/// Health checks are collected.
#[healthcheck(blocking = false)]
pub fn collected() {}
