//! The catalogue of properties: number, name, what it needs, and what broke it elsewhere.

/// Makes the enumeration and what is known of each from one table.
macro_rules! catalogue {
    ($($id:ident $title:literal $needs:literal $broken_by:literal)*) => {
        /// A property that is judged, by its number in docs/SIMULATION.md.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Property {
            $(
                #[doc = $title]
                $id,
            )*
        }

        impl Property {
            /// All of them.
            pub const ALL: [Self; [$($title),*].len()] = [$(Self::$id),*];

            /// Its number.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$id => stringify!($id),)*
                }
            }

            /// What it says, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$id => $title,)*
                }
            }

            /// The one with this id, such as `S1a`.
            #[must_use]
            pub fn of_id(id: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|property| property.id() == id)
            }

            /// What must hold for it to be judged; nothing if that is empty.
            #[must_use]
            pub fn needs(self) -> &'static str {
                match self {
                    $(Self::$id => $needs,)*
                }
            }

            /// What is known to have broken it: issues of etcd unless named otherwise, and numbers of the
            /// bug bank.
            #[must_use]
            pub fn broken_by(self) -> &'static str {
                match self {
                    $(Self::$id => $broken_by,)*
                }
            }
        }
    };
}

impl Property {
    /// Whether it says that something must happen, rather than that something must not: its number
    /// begins with L.
    #[must_use]
    pub fn is_liveness(self) -> bool {
        self.id().starts_with('L')
    }

    /// Whether it speaks of what a store holds: S4 and its kin.
    #[must_use]
    pub fn is_of_storage(self) -> bool {
        matches!(self, Self::S4 | Self::S4a | Self::S4b | Self::S4c | Self::S4d)
    }
}

catalogue! {
    S1 "never early" "" "#2508, #2660, bank 36"
    S1a "smoothing only delays" "" "bank 16"
    S1b "no deadline goes down" "" "CockroachDB #121480, #123442; bank 43"
    S1c "no checkpoint outlives a renew" "clocks within their bound" "#14078, #14087; bank 31, 32, 46"
    S1d "no renew in time is overtaken" "" "a disk that stalls"
    S2 "a promise is kept" "clocks within their bound" "#2660, #7029, #12528, #15247"
    S2a "granted is what was asked" "" "bank 41"
    S3 "deleted only for cause" "" "#6102, #8185; bank 22, 23"
    S3a "a revoke is complete" "" "bank 14"
    S3b "nothing is done to what is gone" "" "#6093, #21186"
    S4 "all or nothing" "a disk without rot" "bank 34"
    S4a "acknowledged is durable" "a disk without rot" "bank 32, 33"
    S4b "recovered is what was durable" "a disk without rot" "#13508; bank 26, 30; ZOOKEEPER-4837"
    S4c "the log may be split anywhere" "few leases" "bank 33, 35"
    S4d "damage is never used" "a disk with rot" "bank 38"
    S5 "one history" "" "#13508; bank 30"
    S5a "the log alone decides" "few leases" "bank 30"
    S6 "only the primary decides" "" "bank 25"
    S6a "nothing of a reign outlives it" "few leases" "#11495, #14078; bank 24, 40"
    S6b "promoted behind the barrier" "" "#7029"
    S7 "no resurrection" "" "#9006; bank 9"
    S7a "each proposal once" "" "#21186; bank 35"
    S8 "one deadline a lease" "few leases" "#14019; bank 21, 27"
    S9 "exactly one answer" "" "bank 24"
    S9a "no success behind its revoke" "" "#14758, #21389"
    S9b "answered by who leads" "" "#15247"
    S9c "a renew waits for the revoke" "" "#14758"
    S9d "an answer comes in time" "clocks that keep their bound" "a disk that stalls"
    S9e "a place that is free is given" "" "late renews that crowd out others"
    S10 "as many a second as the rate" "a clock that does not step back" "#9360, #9496, #9699, #11495; bank 47"
    S11 "fenced" "" "#12528, #14067, #15247"
    S12 "pure" "" "bank 29, 48"
    S12a "done twice is done once" "" "bank 31, 35"
    S12b "a lost write ends the member" "" "#9935, #10686; bank 32"
    S12c "nothing out of order" "" "bank 31"
    S13 "deadlines are truthful" "few leases" "#6537, #9006, #9395, #17642"
    S14 "linearizable" "" "#14758, #15247, #20418"
    S15 "no panic" "" "#6093, #6537, #21186"
    S16 "a clock may step back" "few leases" "bank 36, 37"
    S17 "a claim takes nothing" "" "a lock by attaching"
    S17a "tokens rise" "" "a lock without a token"
    S18 "a guard tells in time" "" "a guard that noticed an end after a third of its ttl"
    S18a "what is guarded stays" "clocks within their bound" "renews of late lessees, a disk that stalls"
    L1 "revoked in time" "a core that is well" "#9935, #10686; ZOOKEEPER-2355"
    L2 "a renewed lease stays" "a core that is well, clocks within their bound since" "#2660; Keeper #111102"
    L3 "convergence" "a core that is well" "ZOOKEEPER-4837"
    L4 "what was lost leaves again" "a primary that stays" "bank 8"
    L4a "what is due leaves" "a primary that stays" "bank 28"
    L5 "an end for any number of reigns" "no clock that steps" "#9888, #13294, #13491, #17132, #20273; bank 3"
    L6 "every request is answered" "a core that is well" "#10492, #14080; bank 24"
    L7 "a majority has a primary" "a core that is well" "a gate that is too strict"
    L8 "due first, out first" "few leases" "#9360"
    L9 "no timer storm" "" "bank 29, 48"
    L10 "opening and stopping end" "a core that is well" "ZOOKEEPER-2355"
}
