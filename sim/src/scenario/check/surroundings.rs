//! Makes what surrounds the members, and the herds, of what serde has read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use lessor::{Config, MemberId};
use toml::Spanned;

use super::{Checker, MOST_LEASES, Mistake, default_offset, grantable, lease, mistake, positive};
use crate::scenario::fault;
use crate::scenario::file;
use crate::scenario::settings::Delays;
use crate::scenario::span::Span;
use crate::scenario::{
    Clocks, DELAYS, Disks, Ending, Herd, MemberClock, Network, PartName, Upkeep,
};

/// The table of the log, which has the settings of the modelled one only if it is that.
pub(super) fn log(file: Option<Spanned<file::Log>>) -> Result<file::Log, Mistake> {
    let Some(file) = file else { return Ok(file::Log::default()) };
    let (location, log) = (file.span(), file.into_inner());
    let Some(name) = log.name.as_ref().filter(|name| **name != PartName::MODELLED) else {
        return Ok(log);
    };
    let settings = [
        ("commit_delay", log.commit_delay.is_some()),
        ("apply_delay", log.apply_delay.is_some()),
        ("confirm_delay", log.confirm_delay.is_some()),
        ("election_timeout", log.election_timeout.is_some()),
        ("compact_every", log.compact_every.is_some()),
    ];
    match settings.iter().find(|(_, is_there)| *is_there) {
        Some((setting, _)) => Err(not_of(name, setting, location)),
        None => Ok(log),
    }
}

/// Something is for the modelled log only.
pub(super) fn not_of(name: &PartName, what: &str, location: Range<usize>) -> Mistake {
    let message =
        format!("`{what}` is for the modelled log, but the log is \"{name}\"; leave it out");
    mistake(location, message)
}

pub(super) fn delays(file: &file::Log) -> Delays {
    let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
    Delays {
        commit: or(file.commit_delay, DELAYS.commit),
        apply: or(file.apply_delay, DELAYS.apply),
        confirm: or(file.confirm_delay, DELAYS.confirm),
    }
}

pub(super) fn disks(file: &file::Disk) -> Disks {
    Disks { latency: file.latency.map_or(Disks::default().latency, |span| span.0) }
}

pub(super) fn network(file: &file::Network) -> Result<Network, Mistake> {
    Ok(Network {
        latency: file.latency.map_or(Duration::ZERO, |span| span.0),
        jitter: file.jitter.map_or(Duration::ZERO, |span| span.0),
        loss_ppm: share("loss_ppm", file.loss_ppm.as_ref())?,
        duplicate_ppm: share("duplicate_ppm", file.duplicate_ppm.as_ref())?,
    })
}

/// A share in millionths, none if it is not there.
fn share(name: &str, ppm: Option<&Spanned<u32>>) -> Result<u32, Mistake> {
    let Some(ppm) = ppm else { return Ok(0) };
    match fault::share(name, *ppm.get_ref()) {
        Some(message) => Err(mistake(ppm.span(), message)),
        None => Ok(*ppm.get_ref()),
    }
}

/// The rate of a clock less one, in millionths.
fn rate(name: &str, ppm: &Spanned<i32>) -> Result<i32, Mistake> {
    match fault::rate(name, *ppm.get_ref()) {
        Some(message) => Err(mistake(ppm.span(), message)),
        None => Ok(*ppm.get_ref()),
    }
}

pub(super) fn config(file: &file::Config) -> Config {
    let default = Config::default();
    let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
    // The salt of ids stays that of the simulated store, which is none.
    Config::default()
        .with_min_ttl(file.min_ttl.map_or(default.min_ttl, |span| span.0.into()))
        .with_revoke_rate(file.revoke_rate.unwrap_or(default.revoke_rate))
        .with_retry_interval(or(file.retry_interval, default.retry_interval))
        .with_checkpoint_interval(or(file.checkpoint_interval, default.checkpoint_interval))
        .with_extend(or(file.extend, default.extend))
        .with_request_timeout(or(file.request_timeout, default.request_timeout))
        .with_subscriber_patience(or(file.observer_patience, default.subscriber_patience))
        .with_queue(file.queue.unwrap_or(default.queue))
        .with_piece(file.piece.unwrap_or(default.piece))
        // Nothing observable depends on it, but a simulation draws nothing from the system.
        .with_hash_key(0)
}

impl Checker {
    pub(super) fn upkeep(&self, file: &file::Log) -> Result<Upkeep, Mistake> {
        let election_timeout = file.election_timeout.as_ref();
        Ok(Upkeep {
            election_timeout: election_timeout
                .map(|timeout| positive("election_timeout", timeout))
                .transpose()?,
            compact_every: file.compact_every.map(|entries| entries.get().into()),
        })
    }

    pub(super) fn clocks(
        &self,
        file: &file::Clocks,
        members: &[file::Clock],
    ) -> Result<Clocks, Mistake> {
        let mut clocks = Clocks {
            bound_ppm: share("bound_ppm", file.bound_ppm.as_ref())?,
            lessees_ppm: file.lessees_ppm.as_ref().map_or(Ok(0), |ppm| rate("lessees_ppm", ppm))?,
            members: Vec::new(),
        };
        for clock in members {
            let member = self.member(&clock.member)?;
            if clocks.members.iter().any(|other| other.member == member) {
                let message = format!("member {member} has two clocks; keep one of them");
                return Err(mistake(clock.member.span(), message));
            }
            let drift_ppm = clock.drift_ppm.as_ref().map_or(Ok(0), |ppm| rate("drift_ppm", ppm))?;
            let offset = clock.offset.map_or(default_offset(member), |span| span.0);
            clocks.members.push(MemberClock { member, offset, drift_ppm });
        }
        clocks.members.sort_by_key(|clock| clock.member);
        Ok(clocks)
    }

    pub(super) fn ending(&self, file: &file::Ending) -> Result<Ending, Mistake> {
        let at = self.moment("at", &file.at)?;
        let core = file.core.iter().map(|member| self.member(member)).collect::<Result<_, _>>()?;
        let core: Vec<MemberId> = std::collections::BTreeSet::into_iter(core).collect();
        if !core.is_empty() && 2 * core.len() <= usize::from(self.members) {
            let location = file.core.first().map_or(0..0, Spanned::span);
            return Err(mistake(location, "`core` must name more than half of the members"));
        }
        Ok(Ending { at, core })
    }

    /// A herd, of whose leases none is taken yet: by the first of each herd, the last and the name.
    pub(super) fn herd(
        &self,
        herd: file::Herd,
        taken: &mut BTreeMap<i64, (i64, String)>,
    ) -> Result<Herd, Mistake> {
        let leases = *herd.leases.get_ref();
        if !(1..=MOST_LEASES).contains(&leases) {
            let message = format!("leases is {leases}, but must be 1 to {MOST_LEASES}");
            return Err(mistake(herd.leases.span(), message));
        }
        let (first, location) = (*herd.first_lease.get_ref(), herd.first_lease.span());
        let last = first.checked_add(i64::from(leases) - 1);
        let Some(last) = last.filter(|last| first > 0 || *last < 0) else {
            let message = format!("first_lease is {first}, but no id may be 0 or too large");
            return Err(mistake(location, message));
        };
        let before = taken.range(..=last).next_back();
        if let Some((_, (_, name))) = before.filter(|(_, (other, _))| first <= *other) {
            let name = name.escape_debug();
            let message = format!("leases {first} to {last} overlap with those of herd {name}");
            return Err(mistake(location, message));
        }
        taken.insert(first, (last, herd.name.clone()));
        let start = self.moment("start", &herd.start)?;
        let over = herd.over.as_ref().map_or(Duration::ZERO, |over| over.get_ref().0);
        if let Some(field) = &herd.over
            && start.saturating_add(over) > self.duration
        {
            let end = Span(self.duration);
            let message = format!("`start` and `over` reach past the end of the scenario at {end}");
            return Err(mistake(field.span(), message));
        }
        let keep_alive = herd.keep_alive.unwrap_or(false);
        if let Some(field) = herd.renew_every.as_ref().filter(|_| keep_alive) {
            let message =
                "`renew_every` and `keep_alive` are both there, but a guard renews by itself";
            return Err(mistake(field.span(), message.to_owned()));
        }
        if let Some(field) = herd.drift_ppm.as_ref().filter(|_| !keep_alive) {
            let message = "`drift_ppm` is of the clocks of guards, so it needs `keep_alive = true`";
            return Err(mistake(field.span(), message.to_owned()));
        }
        Ok(Herd {
            name: herd.name,
            leases,
            first_lease: lease(&herd.first_lease)?,
            ttl: grantable(&herd.ttl)?,
            start,
            over,
            renew_every: herd
                .renew_every
                .map(|every| positive("renew_every", &every))
                .transpose()?,
            until: herd.until.map(|until| self.moment("until", &until)).transpose()?,
            items: herd.items.unwrap_or(1),
            patience: herd.patience.map(|span| positive("patience", &span)).transpose()?,
            keep_alive,
            drift_ppm: herd.drift_ppm.map(|ppm| rate("drift_ppm", &ppm)).transpose()?,
        })
    }
}
