//! What must work on our side for a finding to say anything of the other.

/// Something that has to work on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// A descriptor can be opened.
    Descriptor,
    /// A connection over the loopback interface is made.
    Loopback,
    /// One to a closed port is refused.
    ClosedPort,
    /// A name in /etc/hosts has the address that stands there.
    Name,
    /// A program starts.
    Start,
    /// What is written to a file is read from it.
    File,
    /// The clock was not set to another time.
    Clock,
    /// The run had a CPU when it could have used one.
    CpuTime,
    /// No packet is dropped before it leaves this host.
    Output,
}

impl Control {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Control; 9] = [
        Control::Descriptor,
        Control::Loopback,
        Control::ClosedPort,
        Control::Name,
        Control::Start,
        Control::File,
        Control::Clock,
        Control::CpuTime,
        Control::Output,
    ];

    /// Those of a kind that connects to other hosts.
    pub const NETWORK: &[Control] = &[
        Control::Descriptor,
        Control::Loopback,
        Control::ClosedPort,
        Control::Name,
        Control::CpuTime,
        Control::Output,
        Control::Clock,
    ];

    /// Those of a kind that connects to a service of this host.
    pub const LOCAL: &[Control] = &[Control::Descriptor, Control::CpuTime];

    /// Those of a kind that starts programs.
    pub const PROGRAMS: &[Control] = &[Control::Descriptor, Control::Start, Control::CpuTime];

    /// Those of a kind that looks at files.
    pub const FILES: &[Control] = &[Control::Descriptor, Control::File, Control::Clock];

    /// Those of a kind that asks the kernel, and of functions.
    pub const HOST: &[Control] = &[Control::Descriptor];
}
