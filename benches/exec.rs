//! The cost of an `exec` check compared with a bare posix_spawn of the same program, at two sizes of our memory.
//!
//!     cargo bench --bench exec
//!
//! The machine's speed drifts during a measurement, so the two are measured alternately, in pairs; the ratio is that of
//! the medians. Exits with 1 if it exceeds its target.

// For the bare call that the check is compared with.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant};

use hospital::checks::exec::assert_exec;

const PROGRAM: &str = "/bin/true";
const PAIRS: usize = 1000;
const TARGET: f64 = 1.2;

fn main() -> ExitCode {
    println!("{PAIRS} pairs of runs of {PROGRAM}, medians");
    println!("{:>10}  {:>12}  {:>12}  {:>6}", "memory", "posix_spawn", "exec check", "ratio");
    let mut worst: f64 = 0.0;
    for mebibytes in [0, 1024] {
        // Written to, so that it is mapped, and a fork would have to copy its page tables.
        let ballast = vec![1u8; mebibytes << 20];
        let (bare, check) = medians();
        let ratio = check.as_secs_f64() / bare.as_secs_f64();
        println!("{:>6} MiB  {bare:>12.1?}  {check:>12.1?}  {ratio:>6.2}", ballast.len() >> 20);
        worst = worst.max(ratio);
    }
    println!("target: at most {TARGET}");
    ExitCode::from(u8::from(worst > TARGET))
}

fn medians() -> (Duration, Duration) {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for pair in 0..PAIRS {
        // Each goes first half of the time.
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let began = Instant::now();
            if which == 0 {
                spawn_bare()
            } else {
                assert_exec(PROGRAM, &[]).expect("it ends with 0")
            }
            times[which].push(began.elapsed());
        }
    }
    let [bare, check] = times.map(|mut times| {
        times.sort_unstable();
        times[PAIRS / 2]
    });
    (bare, check)
}

/// Starts the program and waits for it: no pipe, no process group, our environment.
fn spawn_bare() {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    let path = CString::new(PROGRAM).expect("it holds no NUL");
    let argv = [path.as_ptr().cast_mut(), ptr::null_mut()];
    let (mut pid, mut status) = (0, 0);
    // SAFETY: path and argv live until the call returns, argv ends with a null pointer, and no other thread changes the
    // environment.
    let spawned =
        unsafe { libc::posix_spawn(&raw mut pid, path.as_ptr(), ptr::null(), ptr::null(), argv.as_ptr(), environ) };
    assert_eq!(spawned, 0, "{PROGRAM} can be started");
    // SAFETY: the child is ours and nobody else waits for it.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}
