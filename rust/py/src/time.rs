//! Times as RFC 3339 text in UTC, to the microsecond.

use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDateAccess, PyDateTime, PyTimeAccess, PyTzInfo, PyTzInfoAccess};
use swisper_simd::Sink;

use crate::encode::{Outcome, Refusal};

struct Civil {
    date: (i32, u8, u8),
    time: (u8, u8, u8),
    micros: u32,
}

/// The numbers below 100, two digits each.
const PAIRS: &[u8; 200] =
    b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
    5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/// The last two digits of a number.
#[inline]
pub fn two_digits(number: u32) -> [u8; 2] {
    pair(number % 100)
}

/// The two digits of a number below 100.
#[inline]
fn pair(number: u32) -> [u8; 2] {
    PAIRS.as_chunks().0.get(number as usize).copied().unwrap_or_default()
}

fn write(out: &mut impl Sink, civil: &Civil) {
    let ((year, month, day), (hour, minute, second)) = (civil.date, civil.time);
    let (year, micros) = (u32::try_from(year).unwrap_or_default(), civil.micros);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, number) in [
        (0, year / 100),
        (2, year % 100),
        (5, month.into()),
        (8, day.into()),
        (11, hour.into()),
        (14, minute.into()),
        (17, second.into()),
        (20, micros / 10_000),
        (22, micros / 100 % 100),
        (24, micros % 100),
    ] {
        if let Some(to) = text.get_mut(place..place + 2) {
            to.copy_from_slice(&pair(number));
        }
    }
    let (whole, _) = text.split_at(19);
    if micros > 0 {
        out.append(&text);
    } else {
        out.append(whole);
        out.put(b'Z');
    }
}

/// Appends the current time as a JSON string.
pub fn now(out: &mut impl Sink) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let small = |n: u64| u8::try_from(n).unwrap_or_default();
    let time = (small(seconds / 3600), small(seconds / 60 % 60), small(seconds % 60));
    out.put(b'"');
    write(out, &Civil { date: date_of(i64::try_from(days).unwrap_or_default()), time, micros: since.subsec_micros() });
    out.put(b'"');
}

/// Days since 1970 to a date of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: i64) -> (i32, u8, u8) {
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (
        i32::try_from(year).unwrap_or_default(),
        u8::try_from(month).unwrap_or_default(),
        u8::try_from(day).unwrap_or_default(),
    )
}

/// Appends an aware datetime as a JSON string.
pub fn datetime(out: &mut impl Sink, value: &Bound<'_, PyDateTime>) -> Outcome {
    let py = value.py();
    let utc = PyTzInfo::utc(py).map_err(|_| Refusal::new("no UTC"))?;
    let zone = value.get_tzinfo().ok_or_else(|| Refusal::new("a datetime without a time zone"))?;
    let moved;
    let value = if zone.is(utc) {
        value
    } else {
        if value.call_method0("utcoffset").map_or(true, |offset| offset.is_none()) {
            return Err(Refusal::new("a datetime whose time zone has no offset"));
        }
        let found = value.call_method1("astimezone", (utc,)).map_err(|_| Refusal::new("a time that has no UTC"))?;
        moved = found.cast_into::<PyDateTime>().map_err(|_| Refusal::new("a time that has no UTC"))?;
        &moved
    };
    out.put(b'"');
    write(
        out,
        &Civil {
            date: (value.get_year(), value.get_month(), value.get_day()),
            time: (value.get_hour(), value.get_minute(), value.get_second()),
            micros: value.get_microsecond(),
        },
    );
    out.put(b'"');
    Ok(())
}

/// The time that starts at `at`, and the index behind it, if it has the form that this module writes.
pub fn at<'py>(py: Python<'py>, src: &[u8], at: usize) -> Option<(Bound<'py, PyDateTime>, usize)> {
    let text = src.get(at..)?.strip_prefix(b"\"")?;
    let length = [20, 27].into_iter().find(|&length| text.get(length) == Some(&b'"'))?;
    let fields = utc_fields(text.get(..length)?)?;
    moment(py, fields).map(|moment| (moment, at + length + 2))
}

fn moment(py: Python<'_>, (date, time, micros): Fields) -> Option<Bound<'_, PyDateTime>> {
    let utc = PyTzInfo::utc(py).ok()?.to_owned();
    PyDateTime::new(py, date.0, date.1, date.2, time.0, time.1, time.2, micros, Some(&utc)).ok()
}

/// The UTC datetime that RFC 3339 text stands for; None if it is something else.
pub fn parse<'py>(py: Python<'py>, text: &str) -> PyResult<Option<Bound<'py, PyDateTime>>> {
    let utc = PyTzInfo::utc(py)?;
    if let Some(fields) = utc_fields(text.as_bytes()) {
        return Ok(moment(py, fields));
    }
    let Ok(found) = py.get_type::<PyDateTime>().call_method1("fromisoformat", (text,)) else { return Ok(None) };
    let found = found.cast_into::<PyDateTime>()?;
    if found.get_tzinfo().is_none() {
        return Ok(None);
    }
    Ok(found.call_method1("astimezone", (utc,)).ok().and_then(|moved| moved.cast_into::<PyDateTime>().ok()))
}

type Fields = ((i32, u8, u8), (u8, u8, u8), u32);

/// The form that this module writes.
fn utc_fields(text: &[u8]) -> Option<Fields> {
    let body = text.strip_suffix(b"Z")?;
    let (head, fraction) = body.split_at_checked(19)?;
    let two = |at: usize| -> Option<u8> {
        let pair = head.get(at..at + 2)?;
        pair.iter().all(u8::is_ascii_digit).then(|| pair.iter().fold(0, |n, d| n * 10 + (d - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| head.get(*at) != Some(mark)) {
        return None;
    }
    let micros = match fraction.split_first() {
        None => 0,
        Some((b'.', digits)) if digits.len() == 6 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))
        }
        _ => return None,
    };
    let year = i32::from(two(0)?) * 100 + i32::from(two(2)?);
    Some(((year, two(5)?, two(8)?), (two(11)?, two(14)?, two(17)?), micros))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn system_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
