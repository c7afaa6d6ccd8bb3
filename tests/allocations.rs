//! No request makes the daemon allocate, as counted by the daemon itself.
//!
//! This program has a counting allocator, and two roles: the test, and a hospital that the test starts, whose master
//! and worker count into one file that all of them have mapped.

// Allocators and shared memory need unsafe code.
#![allow(unsafe_code)]

/// Of which this uses little.
#[allow(dead_code, unused_imports)]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use harness::{Client, Launch, Server, get};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// The variable that turns this program into a hospital: the file to count into.
const COUNT_INTO: &str = "COUNT_ALLOCATIONS_INTO";

/// How many requests go first, so that every buffer has its final size.
const WARM: usize = 200;
/// How many requests are counted.
const COUNTED: u64 = 1000;
/// What they may cost together apart from the requests: a growing table, or the date, which is written once a second.
const BESIDE: u64 = 20;

fn main() -> ExitCode {
    if let Some(file) = std::env::var_os(COUNT_INTO) {
        COUNT.store(mapped(Path::new(&file)), Ordering::Relaxed);
        return hospital::main();
    }
    let hospital = Counted::start();
    assert!(hospital.count() > 0, "nothing is counted, not even the start");
    let mut client = Client::to(&hospital.0.at);
    let kept = hospital.costs(|| {
        client.ask("/");
        assert_eq!(client.answer().status, 200);
    });
    let closed = hospital.costs(|| assert_eq!(get(&hospital.0.at, "/").status, 200));
    for (connection, cost) in [("on a kept connection", kept), ("each on its own", closed)] {
        println!("{COUNTED} requests {connection}: {cost} allocations");
        assert!(cost <= BESIDE, "a request {connection} allocates");
    }
    ExitCode::SUCCESS
}

// ---- the allocator ----

#[global_allocator]
static COUNTING: Counting = Counting;

/// The counter; null while nothing is counted.
static COUNT: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The system's allocator, which counts its allocations.
struct Counting;

impl Counting {
    fn count() {
        // SAFETY: what it points to is mapped for as long as the process lives.
        if let Some(count) = unsafe { COUNT.load(Ordering::Relaxed).as_ref() } {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The number at the beginning of the file, shared by all processes that have it mapped, even through forks.
fn mapped(path: &Path) -> *mut AtomicU64 {
    let file = File::options().read(true).write(true).open(path).expect("the test has made the file");
    let size = NonZeroUsize::new(size_of::<AtomicU64>()).expect("it has a size");
    // SAFETY: a new mapping overlaps nothing, is page-aligned, holds any bit pattern, and is never unmapped.
    let mapping =
        unsafe { mmap(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &file, 0) };
    mapping.expect("a file of that size can be mapped").cast().as_ptr()
}

// ---- the hospital that counts ----

struct Counted(Server);

impl Counted {
    fn start() -> Counted {
        let program = std::env::current_exe().expect("this program lies somewhere");
        let launch = Launch::of(program).args(["-b", "127.0.0.1:0", "-w", "1"]);
        let file = launch.path("count");
        std::fs::write(&file, 0u64.to_ne_bytes()).expect("the directory is ours");
        Counted(launch.env(COUNT_INTO, &file.to_string_lossy()).start())
    }

    fn count(&self) -> u64 {
        let bytes = std::fs::read(self.0.path("count")).expect("the file was made at the start");
        u64::from_ne_bytes(bytes.try_into().expect("it holds one number"))
    }

    /// The cost of all counted requests together.
    fn costs(&self, mut ask: impl FnMut()) -> u64 {
        (0..WARM).for_each(|_| ask());
        let before = self.count();
        (0..COUNTED).for_each(|_| ask());
        self.count() - before
    }
}
