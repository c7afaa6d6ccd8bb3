//! The rim: the only home of `unsafe`, raw descriptors, nix and libc. It knows no check, no request and no fleet.

pub(crate) mod child;
pub(crate) mod descriptors;
pub(crate) mod filesystem;
pub(crate) mod identity;
pub(crate) mod memory;
mod pidfd;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod scoreboard;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod systemd;
pub(crate) mod tree;
