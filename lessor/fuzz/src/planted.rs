//! Bugs to be found: each is planted between what is tested and what judges it.

use std::sync::OnceLock;

/// A bug that a target must find, to show that it can find one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    Nothing,
    /// A demotion or a stop does not answer those who wait.
    LostAnswers,
    /// An answer is given twice.
    SecondAnswer,
    /// A batch comes again once the core is not primary.
    LateBatch,
    /// The core's clock is a second ahead when it looks what is due.
    FastClock,
    /// A call that should come early comes when something is due.
    EarlyIsLate,
    /// After a timeout the next one is at once.
    StuckTimeout,
    /// An item is not written.
    LostWrite,
    /// One of two equal lessors grants a millisecond more.
    UnequalTwin,
    /// A follower is not told of attached items.
    DeafFollower,
    /// A member is told that a commit is durable before it is.
    AnswerBeforeCommit,
    /// What a deposed leader proposed takes effect in the term of another.
    AnyTerm,
    /// A member repeats a proposal.
    SecondProposal,
    /// A renew or a request that was given up is answered all the same.
    ForgottenAnswer,
    /// A member is not told that the time of its requests is up.
    LateAnswer,
    /// A recovered state lacks its last lease.
    LostLease,
    /// A refused snapshot has left something behind.
    HalfRecovered,
    /// A damaged store is read as if it were empty.
    SilentLoss,
    /// A refused file was changed.
    TouchedFile,
    /// What was stored last is not there when the store is opened again.
    LostCommit,
    /// A written scenario lacks its last line.
    LostLine,
    /// A refusal has two lines.
    LongRefusal,
    /// A refusal names a line that is not there.
    WrongLine,
}

impl Planted {
    const BY_NAME: [(&str, Self); 22] = [
        ("lost-answers", Self::LostAnswers),
        ("second-answer", Self::SecondAnswer),
        ("late-batch", Self::LateBatch),
        ("fast-clock", Self::FastClock),
        ("early-is-late", Self::EarlyIsLate),
        ("stuck-timeout", Self::StuckTimeout),
        ("lost-write", Self::LostWrite),
        ("unequal-twin", Self::UnequalTwin),
        ("deaf-follower", Self::DeafFollower),
        ("answer-before-commit", Self::AnswerBeforeCommit),
        ("any-term", Self::AnyTerm),
        ("second-proposal", Self::SecondProposal),
        ("forgotten-answer", Self::ForgottenAnswer),
        ("late-answer", Self::LateAnswer),
        ("lost-lease", Self::LostLease),
        ("half-recovered", Self::HalfRecovered),
        ("silent-loss", Self::SilentLoss),
        ("touched-file", Self::TouchedFile),
        ("lost-commit", Self::LostCommit),
        ("lost-line", Self::LostLine),
        ("long-refusal", Self::LongRefusal),
        ("wrong-line", Self::WrongLine),
    ];

    /// The bug that `LESSOR_FUZZ_PLANTED` names, or none if it is not set.
    ///
    /// Another name ends the process, and not by a panic: that would pass for a bug that is found.
    #[expect(clippy::disallowed_methods, reason = "libFuzzer owns the command line")]
    pub fn from_environment() -> Self {
        static PLANTED: OnceLock<Planted> = OnceLock::new();
        *PLANTED.get_or_init(|| {
            let Ok(name) = std::env::var("LESSOR_FUZZ_PLANTED") else { return Self::Nothing };
            let found = Self::BY_NAME.iter().find(|(known, _)| *known == name);
            found.map_or_else(
                || {
                    eprintln!("LESSOR_FUZZ_PLANTED is {name}, but there is no such bug");
                    std::process::exit(2);
                },
                |(_, planted)| *planted,
            )
        })
    }
}
