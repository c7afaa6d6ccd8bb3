//! The sabotages: what each does to the world of a check, and what cures a check that it fools.

/// One thing that is broken for one run of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sabotage {
    /// An empty network: every connect is refused, every lookup fails.
    Refused,
    /// Packets vanish.
    BlackHole,
    /// Whatever it connects to is answered by bytes of no protocol.
    Rubbish(Rubbish),
    /// It is answered well, but by somebody else, or something else.
    Stranger(Stranger),
    /// What it looks at on this host is not there, or not as it was.
    Gone(Gone),
    /// The file systems that it measures have no room.
    Full,
    /// It cannot have what it needs to look.
    Starved(Starved),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rubbish {
    Bytes,
    Nothing,
    Endless,
    Drip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stranger {
    /// TLS with another certificate.
    Certificate,
    /// HTTP 500 with the same body.
    Failing,
    /// HTTP 200 with another body.
    OtherBody,
    /// A redirect to a login page.
    Login,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Gone {
    Missing,
    /// Only the files that are neither the kernel's nor part of a measurement.
    Files,
    Unreadable,
    Empty,
    /// Other words stand in what it reads, in the same form.
    Other,
    /// All figures in what it reads are 0.
    Less,
    /// What it reads has large figures, and all that it may look for; its folders are full of that.
    More,
    Old,
    Processes,
    /// The processes that the check started are hidden from each other, too.
    AllProcesses,
    /// There is no network interface but a loopback that is switched off.
    Interfaces,
    /// What it found missing is there.
    Back,
    /// The user, the name of the host, its limits and the environment are others.
    Surroundings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Starved {
    Descriptors,
    Memory,
    Clock(Clock),
}

/// How far off a clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Clock {
    HourAhead,
    HourBehind,
    YearsAhead,
    YearsBehind,
}

impl Clock {
    /// So many seconds later it tells.
    pub(crate) fn offset(self) -> i64 {
        const HOUR: i64 = 3600;
        const YEARS: i64 = 10 * 366 * 24 * HOUR;
        match self {
            Clock::HourAhead => HOUR,
            Clock::HourBehind => -HOUR,
            Clock::YearsAhead => YEARS,
            Clock::YearsBehind => -YEARS,
        }
    }
}

/// The words for the sabotages, in reports and in the option `drill_allow`.
pub(crate) const WORDS: [&str; 7] = ["refused", "black_hole", "rubbish", "stranger", "gone", "full", "starved"];

impl Sabotage {
    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        let place = match self {
            Sabotage::Refused => 0,
            Sabotage::BlackHole => 1,
            Sabotage::Rubbish(_) => 2,
            Sabotage::Stranger(_) => 3,
            Sabotage::Gone(_) => 4,
            Sabotage::Full => 5,
            Sabotage::Starved(_) => 6,
        };
        WORDS[place]
    }

    /// What it does, for people.
    pub(crate) fn does(self) -> &'static str {
        match self {
            Sabotage::Refused => "every connection is refused",
            Sabotage::BlackHole => "packets vanish",
            Sabotage::Rubbish(Rubbish::Bytes) => "bytes of no protocol answer",
            Sabotage::Rubbish(Rubbish::Nothing) => "the answer is empty",
            Sabotage::Rubbish(Rubbish::Endless) => "the answer never ends",
            Sabotage::Rubbish(Rubbish::Drip) => "the answer comes at one byte a second",
            Sabotage::Stranger(Stranger::Certificate) => "its peer has another certificate",
            Sabotage::Stranger(Stranger::Failing) => "the answer is HTTP 500 with the same body",
            Sabotage::Stranger(Stranger::OtherBody) => "the answer is HTTP 200 with another body",
            Sabotage::Stranger(Stranger::Login) => "it is redirected to a login page",
            Sabotage::Gone(Gone::Missing) => "what it looks at is not there",
            Sabotage::Gone(Gone::Files) => "the files that it looks at are not there",
            Sabotage::Gone(Gone::Unreadable) => "what it reads may not be read",
            Sabotage::Gone(Gone::Empty) => "what it reads is empty",
            Sabotage::Gone(Gone::Other) => "what it reads says something else",
            Sabotage::Gone(Gone::Less) => "all figures that it reads are 0",
            Sabotage::Gone(Gone::More) => "there is much of all that it may look for",
            Sabotage::Gone(Gone::Old) => "what it looks at is a year old",
            Sabotage::Gone(Gone::Processes) => "no process runs but its own",
            Sabotage::Gone(Gone::AllProcesses) => "no process runs but the one that looks",
            Sabotage::Gone(Gone::Interfaces) => "no network interface is up",
            Sabotage::Gone(Gone::Back) => "what it wants to be missing is there",
            Sabotage::Gone(Gone::Surroundings) => "user, host, limits and environment are others",
            Sabotage::Full => "no room is left",
            Sabotage::Starved(Starved::Descriptors) => "no descriptors are left",
            Sabotage::Starved(Starved::Memory) => "no memory is left",
            Sabotage::Starved(Starved::Clock(Clock::HourAhead)) => "the clock is an hour ahead",
            Sabotage::Starved(Starved::Clock(Clock::HourBehind)) => "the clock is an hour behind",
            Sabotage::Starved(Starved::Clock(Clock::YearsAhead)) => "the clock is ten years ahead",
            Sabotage::Starved(Starved::Clock(Clock::YearsBehind)) => "the clock is ten years behind",
        }
    }

    /// What a check needs that it fools, where its kind `has` such options.
    pub(crate) fn cure(self, has: &dyn Fn(&str) -> bool) -> &'static str {
        match self {
            Sabotage::Refused | Sabotage::BlackHole => {
                "it goes on after a connection that failed: let that be its failure"
            }
            Sabotage::Rubbish(_) if has("match") => "it does not look at the answer: say with match= what has to come",
            Sabotage::Rubbish(_) => "it does not look at the answer: let it fail unless that is what has to come",
            Sabotage::Stranger(Stranger::Certificate) if has("insecure") => {
                "it takes any certificate: leave out insecure, or name its ca="
            }
            Sabotage::Stranger(Stranger::Certificate) => "it takes any certificate: let it verify that",
            Sabotage::Stranger(Stranger::Failing) if has("status") => {
                "it does not look at the status: say with status= which is well"
            }
            Sabotage::Stranger(Stranger::Failing) => "it does not look at the status: let it fail unless that is well",
            Sabotage::Stranger(Stranger::OtherBody | Stranger::Login) if has("json") => {
                "it takes any answer: say with match= or json= what has to be in it"
            }
            Sabotage::Stranger(Stranger::OtherBody | Stranger::Login) => {
                "it takes any answer: let it look for what has to be in it"
            }
            Sabotage::Gone(Gone::Missing | Gone::Files | Gone::Unreadable | Gone::Interfaces | Gone::Surroundings) => {
                "it goes on without what it looks at: let that be its failure"
            }
            Sabotage::Gone(Gone::Empty) => "it takes an empty file: say with match= or min_size= what has to be in it",
            Sabotage::Gone(Gone::Other | Gone::Less) => {
                "it takes whatever stands there: let it fail unless that is what has to be there"
            }
            Sabotage::Gone(Gone::More) => {
                "it takes whatever is found, or not: let it fail by what was found, as find does not by itself"
            }
            Sabotage::Gone(Gone::Old) => "it takes an old file: say with max_age= how old it may be",
            Sabotage::Gone(Gone::Processes | Gone::AllProcesses) => {
                "it finds its own processes, or goes on without any: name the program by its file"
            }
            Sabotage::Gone(Gone::Back) => "it does not mind what it looks for: let that be its failure",
            Sabotage::Full if has("free") => {
                "it does not look at how much room there is: say with free= how much there has to be"
            }
            Sabotage::Full => "it does not mind how much is left: give it a limit that can be reached",
            Sabotage::Starved(Starved::Clock(_)) => "it does not see a clock that is wrong: let that be an error",
            Sabotage::Starved(_) => "it passes although it could not look: let that be an error",
        }
    }

    /// Whether a network of its own takes part in it.
    pub(crate) fn is_of_the_network(self) -> bool {
        match self {
            Sabotage::Refused | Sabotage::BlackHole | Sabotage::Rubbish(_) | Sabotage::Stranger(_) => true,
            Sabotage::Gone(_) | Sabotage::Full | Sabotage::Starved(_) => false,
        }
    }
}

/// The word for a sabotage, however it is spelt.
pub(crate) fn word(text: &str) -> Option<&'static str> {
    let text = text.replace(['-', ' '], "_");
    WORDS.into_iter().find(|word| *word == text)
}
