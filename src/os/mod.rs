//! The rim: the only home of `unsafe`, raw descriptors, nix and libc. It runs no checks, reads no requests and decides
//! nothing.

pub(crate) mod accounts;
pub(crate) mod bell;
pub(crate) mod calls;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod confinement;
pub(crate) mod descriptors;
pub(crate) mod errno;
pub(crate) mod filesystem;
pub(crate) mod folder;
pub(crate) mod foreground;
pub(crate) mod identity;
pub(crate) mod memory;
pub(crate) mod network;
pub(crate) mod ourselves;
pub(crate) mod packets;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod registers;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod stamp;
pub(crate) mod systemd;
pub(crate) mod task;
pub(crate) mod tracer;
pub(crate) mod tree;
pub(crate) mod vdso;
pub(crate) mod walk;
