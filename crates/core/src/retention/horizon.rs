//! The horizon: until when a snapshot will be kept, as far as that can be foreseen. Object Lock dates come from it.

use std::time::Duration;

use jiff::{SignedDuration, Span, Timestamp, civil::Date, tz::TimeZone};

use super::{Candidate, Keep};
use crate::{Standing, Tier};

/// Where everything is kept there is no end to foresee; locks are then set for this long.
const WITHOUT_A_RULE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Until when the rules will keep `candidate`, or `None` where no rule is known to keep it. It is the latest of:
///
/// - for a tier of which it represents a slot, the end of that slot and as many more slots as the tier's number less
///   one: a newer snapshot cannot push it out sooner. In a zone whose clock changes by half an hour, hours may be
///   foreseen half an hour too long;
/// - its time and `within`;
/// - its time and `last` times `expected_interval`, where that is given and it is among the `last` newest: snapshots
///   asked for in between push it out sooner;
/// - `keep_until`, and the end of its hold where that has one;
/// - a year from its time, where everything is kept.
///
/// It depends on what is stored only by who represents a slot and who is among the newest, so that it does not creep
/// from one run to the next. Suspect and damaged snapshots have only `keep_until` and holds: they are no use for
/// long. The answer may lie in the past. `candidates` may contain `candidate` or not.
pub fn keep_horizon(
    candidate: &Candidate,
    candidates: &[Candidate],
    keep: &Keep,
    time_zone: &TimeZone,
    expected_interval: Option<Duration>,
    now: Timestamp,
) -> Option<Timestamp> {
    let now = now.max(candidate.time);
    let others = || candidates.iter().filter(|other| other.counts(now) && other.id != candidate.id);
    let mut ends = vec![candidate.keep_until, candidate.hold.and_then(|hold| hold.until)];
    if candidate.standing == Standing::Good {
        if keep.keeps_everything() {
            ends.push(Some(later(candidate.time, WITHOUT_A_RULE)));
        }
        ends.push(keep.within.map(|within| later(candidate.time, signed(within))));
        let newer = others().filter(|other| other.recency() > candidate.recency()).count();
        if newer < keep.last as usize {
            let interval = expected_interval.map(|interval| signed(interval.saturating_mul(keep.last)));
            ends.push(interval.map(|interval| later(candidate.time, interval)));
        }
        for tier in Tier::ALL.into_iter().filter(|tier| keep.of(*tier) > 0) {
            let slot = Bounds::of(tier, candidate.time, time_zone);
            let represented = others()
                .any(|other| slot.contains(other.time) && other.precedence() < candidate.precedence());
            ends.push((!represented).then(|| slot_start(tier, candidate.time, time_zone, keep.of(tier))));
        }
    }
    ends.into_iter().flatten().max()
}

/// A slot as a span of time. Instants are compared instead of names because horizons are asked for snapshot by
/// snapshot, each against all the others.
struct Bounds {
    start: Timestamp,
    end: Timestamp,
}

impl Bounds {
    fn of(tier: Tier, time: Timestamp, time_zone: &TimeZone) -> Self {
        Self { start: slot_start(tier, time, time_zone, 0), end: slot_start(tier, time, time_zone, 1) }
    }

    fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

/// The start of the slot that comes `number` slots after that of `time`, or the end of all time where there is none.
fn slot_start(tier: Tier, time: Timestamp, time_zone: &TimeZone, number: u32) -> Timestamp {
    let here = time.to_zoned(time_zone.clone());
    let date = here.date();
    let number = i64::from(number);
    let (first, span): (_, Result<Span, _>) = match tier {
        Tier::Hourly => {
            let past = SignedDuration::new(
                i64::from(here.minute()) * 60 + i64::from(here.second()),
                here.subsec_nanosecond(),
            );
            return later(time, SignedDuration::from_hours(number).saturating_sub(past));
        }
        Tier::Daily => (Some(date), Span::new().try_days(number)),
        Tier::Weekly => {
            let since_monday = Span::new().days(date.weekday().to_monday_zero_offset());
            (date.checked_sub(since_monday).ok(), Span::new().try_weeks(number))
        }
        Tier::Monthly => (Some(date.first_of_month()), Span::new().try_months(number)),
        Tier::Yearly => (Some(date.first_of_year()), Span::new().try_years(number)),
    };
    let start = |first: Date, span: Span| first.checked_add(span)?.to_zoned(time_zone.clone());
    match (first, span) {
        (Some(first), Ok(span)) => start(first, span).map_or(Timestamp::MAX, |zoned| zoned.timestamp()),
        _ => Timestamp::MAX,
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).expect("no unit of a duration depends on a calendar")
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
