//! The registers of a stopped task, as far as a system call uses them. Another architecture has a file like this.

use std::io;

/// Whether the calls of a task can be read here.
pub(crate) const ARE_KNOWN: bool = cfg!(target_arch = "x86_64");

/// AUDIT_ARCH_X86_64 of linux/audit.h.
pub(super) const ARCHITECTURE: u32 = 0xC000_003E;

#[cfg(target_arch = "x86_64")]
mod known {
    use nix::unistd::Pid;

    #[derive(Clone, Copy)]
    pub(in crate::os) struct Registers(libc::user_regs_struct);

    impl Registers {
        pub(in crate::os) fn number(&self) -> i64 {
            self.0.orig_rax as i64
        }

        pub(in crate::os) fn arguments(&self) -> [u64; 6] {
            let Registers(all) = self;
            [all.rdi, all.rsi, all.rdx, all.r10, all.r8, all.r9]
        }

        pub(in crate::os) fn result(&self) -> i64 {
            self.0.rax as i64
        }

        pub(in crate::os) fn stack(&self) -> u64 {
            self.0.rsp
        }

        /// The call is not made, and returns this error.
        pub(in crate::os) fn refused(&self, errno: i32) -> Registers {
            Registers(libc::user_regs_struct { orig_rax: u64::MAX, rax: -i64::from(errno) as u64, ..self.0 })
        }

        /// The call returns this.
        pub(in crate::os) fn returning(&self, result: i64) -> Registers {
            Registers(libc::user_regs_struct { rax: result as u64, ..self.0 })
        }

        /// The second and third argument are others.
        pub(in crate::os) fn with_address(&self, place: u64, length: u64) -> Registers {
            Registers(libc::user_regs_struct { rsi: place, rdx: length, ..self.0 })
        }

        /// One of the first three arguments is another.
        pub(in crate::os) fn with_argument(&self, index: usize, value: u64) -> Registers {
            match index {
                0 => Registers(libc::user_regs_struct { rdi: value, ..self.0 }),
                1 => Registers(libc::user_regs_struct { rsi: value, ..self.0 }),
                _ => Registers(libc::user_regs_struct { rdx: value, ..self.0 }),
            }
        }

        /// The arguments are these again, after the call.
        pub(in crate::os) fn with_result_of(&self, after: &Registers) -> Registers {
            let Registers(libc::user_regs_struct { rdi, rsi, rdx, .. }) = *self;
            Registers(libc::user_regs_struct { rdi, rsi, rdx, ..after.0 })
        }
    }

    /// A function that makes the call with its own arguments: mov $number, %eax; syscall; ret.
    pub(in crate::os) fn code_of_call(number: i64) -> Vec<u8> {
        [&[0xb8][..], &(number as u32).to_le_bytes(), &[0x0f, 0x05, 0xc3]].concat()
    }

    pub(in crate::os) fn get(tid: i32) -> nix::Result<Registers> {
        nix::sys::ptrace::getregs(Pid::from_raw(tid)).map(Registers)
    }

    pub(in crate::os) fn set(tid: i32, registers: &Registers) -> nix::Result<()> {
        nix::sys::ptrace::setregs(Pid::from_raw(tid), registers.0)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod known {
    use nix::errno::Errno;

    #[derive(Clone, Copy)]
    pub(in crate::os) struct Registers;

    impl Registers {
        pub(in crate::os) fn number(&self) -> i64 {
            -1
        }

        pub(in crate::os) fn arguments(&self) -> [u64; 6] {
            [0; 6]
        }

        pub(in crate::os) fn result(&self) -> i64 {
            0
        }

        pub(in crate::os) fn stack(&self) -> u64 {
            0
        }

        pub(in crate::os) fn refused(&self, _errno: i32) -> Registers {
            Registers
        }

        pub(in crate::os) fn returning(&self, _result: i64) -> Registers {
            Registers
        }

        pub(in crate::os) fn with_address(&self, _place: u64, _length: u64) -> Registers {
            Registers
        }

        pub(in crate::os) fn with_argument(&self, _index: usize, _value: u64) -> Registers {
            Registers
        }

        pub(in crate::os) fn with_result_of(&self, _after: &Registers) -> Registers {
            Registers
        }
    }

    pub(in crate::os) fn code_of_call(_number: i64) -> Vec<u8> {
        Vec::new()
    }

    pub(in crate::os) fn get(_tid: i32) -> nix::Result<Registers> {
        Err(Errno::ENOSYS)
    }

    pub(in crate::os) fn set(_tid: i32, _registers: &Registers) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

pub(super) use known::{Registers, code_of_call, get, set};

/// The error where the registers are not known.
pub(crate) fn unknown() -> io::Error {
    io::Error::other("a drill cannot follow programs on this architecture (x86_64 it can)")
}
