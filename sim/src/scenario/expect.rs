//! What a scenario expects: one thing each, and nothing that cannot be met.

use std::collections::BTreeSet;
use std::ops::Range;

use lessor::{Item, LeaseId};
use toml::Spanned;

use super::check::{Checker, Mistake, items, lease, mistake, positive};
use super::file::{self, OrNone};
use super::span::Span;
use super::{AtMoment, Expectation};

impl Checker {
    pub(super) fn expectation(
        &self,
        expect: &Spanned<file::Expect>,
    ) -> Result<Expectation, Mistake> {
        let (location, expect) = (expect.span(), expect.get_ref());
        let given = expect.given();
        let mut about = given.iter().filter_map(|(name, location)| {
            FORMS.iter().find(|(subject, _)| subject == name).map(|form| (form, location))
        });
        let Some(((subject, fields), _)) = about.next() else {
            return Err(mistake(
                location,
                format!("an expectation is about nothing; {EXPECTATIONS}"),
            ));
        };
        if let Some(((other, _), location)) = about.next() {
            let message =
                format!("an expectation is about one thing, not `{subject}` and `{other}`");
            return Err(mistake(location.clone(), message + "; make two of it"));
        }
        if let Some((name, location)) =
            given.iter().find(|(name, _)| name != subject && !fields.contains(name))
        {
            let fields = fields.join(", ");
            let message = format!("`{name}` does not go with `{subject}`; allowed: {fields}");
            return Err(mistake(location.clone(), message));
        }
        if *subject == "from" {
            return self.expired(expect, location);
        }
        let needs = |what: &str| mistake(location.clone(), format!("`{subject}` needs {what}"));
        let at =
            expect.at.as_ref().ok_or_else(|| needs("`at`, the moment that it is expected for"))?;
        let at = self.moment("at", at)?;
        let member = expect.member.as_ref().map(|member| self.member(member)).transpose()?;
        let what = if let Some(id) = &expect.lease {
            of_lease(lease(id)?, expect)?.ok_or_else(|| {
                needs("`present`, `items`, `remaining_at_least` or `remaining_at_most`")
            })?
        } else if let Some(item) = &expect.item {
            let holder = expect.holder.as_ref().ok_or_else(|| needs("`holder`"))?;
            AtMoment::Holder(item.get_ref().as_str().into(), number(holder, lease)?)
        } else if let Some(primary) = &expect.primary {
            AtMoment::Primary(number(primary, |member| self.member(member))?)
        } else {
            let count = expect.leases.as_ref().expect("it is about the last thing that is left");
            AtMoment::Leases(*count.get_ref() as usize)
        };
        Ok(Expectation::At { at, member, what })
    }

    fn expired(
        &self,
        expect: &file::Expect,
        location: Range<usize>,
    ) -> Result<Expectation, Mistake> {
        let (Some(from), Some(to), Some(every)) = (&expect.from, &expect.to, &expect.every) else {
            return Err(mistake(location, "`from` needs `to` and `every`"));
        };
        let end = to.span();
        let (from, to) = (self.moment("from", from)?, self.moment("to", to)?);
        if from >= to {
            let message =
                format!("`to` is {}, but must be after `from` at {}", Span(to), Span(from));
            return Err(mistake(end, message));
        }
        let bounds = (&expect.expired_at_least, &expect.expired_at_most);
        in_order("expired", bounds)?;
        let (at_least, at_most) = (bounds.0.as_ref().map(value), bounds.1.as_ref().map(value));
        if at_least.is_none() && at_most.is_none() {
            let message = "`from` needs `expired_at_least` or `expired_at_most`";
            return Err(mistake(location, message));
        }
        let every = positive("every", every)?;
        Ok(Expectation::Expired { from, to, every, at_least, at_most })
    }
}

/// What is expected of a lease, if anything is.
fn of_lease(id: LeaseId, expect: &file::Expect) -> Result<Option<AtMoment>, Mistake> {
    let bounds = (&expect.remaining_at_least, &expect.remaining_at_most);
    in_order("remaining", bounds)?;
    let [at_least, at_most] =
        [bounds.0, bounds.1].map(|bound| bound.as_ref().map(|b| b.get_ref().0));
    let remaining = (at_least.is_some() || at_most.is_some()).then_some(AtMoment::Remaining {
        lease: id,
        at_least,
        at_most,
    });
    let held = expect.items.as_ref().map(|keys| {
        let sorted: BTreeSet<Item> = items(keys.get_ref()).into_iter().collect();
        AtMoment::Items(id, sorted.into_iter().collect())
    });
    let more = match (remaining, held, &expect.items) {
        (Some(_), Some(_), Some(items)) => {
            let message = "`items` and `remaining` are two expectations; make two of it";
            return Err(mistake(items.span(), message));
        }
        (remaining, held, _) => remaining.or(held),
    };
    match (&expect.present, more) {
        (Some(present), Some(_)) if !*present.get_ref() => {
            let message = "a lease that is not present has no items and no time left";
            Err(mistake(present.span(), message))
        }
        // What is expected of a lease says that it is there.
        (_, Some(more)) => Ok(Some(more)),
        (present, None) => {
            Ok(present.as_ref().map(|there| AtMoment::Present(id, *there.get_ref())))
        }
    }
}

/// Refuses bounds that nothing can meet.
fn in_order<T: PartialOrd>(
    name: &str,
    (at_least, at_most): (&Option<Spanned<T>>, &Option<Spanned<T>>),
) -> Result<(), Mistake> {
    match (at_least, at_most) {
        (Some(least), Some(most)) if least.get_ref() > most.get_ref() => {
            let message = format!("`{name}_at_most` is less than `{name}_at_least`");
            Err(mistake(most.span(), message))
        }
        _ => Ok(()),
    }
}

fn value<T: Copy>(field: &Spanned<T>) -> T {
    *field.get_ref()
}

/// What the number stands for, or nothing.
fn number<T>(
    number: &Spanned<OrNone>,
    meaning: impl FnOnce(&Spanned<i64>) -> Result<T, Mistake>,
) -> Result<Option<T>, Mistake> {
    let OrNone(Some(found)) = *number.get_ref() else { return Ok(None) };
    meaning(&Spanned::new(number.span(), found)).map(Some)
}

/// What an expectation can be about, and what goes with it.
const FORMS: [(&str, &[&str]); 5] = [
    ("lease", &["at", "member", "present", "items", "remaining_at_least", "remaining_at_most"]),
    ("item", &["at", "member", "holder"]),
    ("primary", &["at"]),
    ("leases", &["at", "member"]),
    ("from", &["to", "every", "expired_at_least", "expired_at_most"]),
];
const EXPECTATIONS: &str = "allowed: lease, item, primary, leases, or from with to and every";
