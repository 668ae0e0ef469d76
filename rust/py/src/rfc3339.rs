//! Dates and times of the standard library as RFC 3339 text.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{
    PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyTime, PyTimeAccess, PyTzInfo, PyTzInfoAccess,
};
use swisper_simd::Sink;

use crate::encode::{Outcome, Refusal};
use crate::time::two_digits;

const DAY: i32 = 86_400;

/// How far local time is from UTC.
#[derive(Clone, Copy)]
enum Offset {
    Unknown,
    Minutes(i32),
    /// Not a whole number of minutes, which the text cannot say.
    Uneven,
}

/// Appends a datetime, with its offset if it has one; UTC is `Z`.
pub fn datetime(out: &mut impl Sink, value: &Bound<'_, PyDateTime>) -> Outcome {
    let offset = offset(value.as_any(), value.get_tzinfo())?;
    if let Offset::Uneven = offset {
        let utc = PyTzInfo::utc(value.py())?;
        let moved = value.call_method1("astimezone", (utc,)).map_err(|error| no_utc(value.py(), error))?;
        let moved = moved.cast_into::<PyDateTime>().map_err(PyErr::from)?;
        put_datetime(out, &moved, Offset::Minutes(0));
    } else {
        put_datetime(out, value, offset);
    }
    Ok(())
}

/// A time that is not in the years 1 to 9999 in UTC; what a zone of the caller raises stays that.
fn no_utc(py: Python<'_>, error: PyErr) -> Refusal {
    if error.is_instance_of::<PyOverflowError>(py) { Refusal::new("a time that has no UTC") } else { error.into() }
}

fn put_datetime(out: &mut impl Sink, value: &Bound<'_, PyDateTime>, offset: Offset) {
    out.put(b'"');
    put_date(out, value);
    out.put(b'T');
    put_time(out, value);
    put_offset(out, offset);
    out.put(b'"');
}

/// Appends a date.
pub fn date(out: &mut impl Sink, value: &Bound<'_, PyDate>) {
    out.put(b'"');
    put_date(out, value);
    out.put(b'"');
}

/// Appends a time of day, with its offset if it has one.
pub fn time(out: &mut impl Sink, value: &Bound<'_, PyTime>) -> Outcome {
    let offset = offset(value.as_any(), value.get_tzinfo())?;
    if let Offset::Uneven = offset {
        return Err(Refusal::new("a time whose offset from UTC is not a whole number of minutes"));
    }
    out.put(b'"');
    put_time(out, value);
    put_offset(out, offset);
    out.put(b'"');
    Ok(())
}

/// Python code of a time zone runs here.
fn offset(value: &Bound<'_, PyAny>, zone: Option<Bound<'_, PyTzInfo>>) -> PyResult<Offset> {
    let py = value.py();
    let Some(zone) = zone else { return Ok(Offset::Unknown) };
    if zone.is(PyTzInfo::utc(py)?) {
        return Ok(Offset::Minutes(0));
    }
    let found = value.call_method0("utcoffset")?;
    if found.is_none() {
        return Ok(Offset::Unknown);
    }
    let delta = found.cast_into::<PyDelta>()?;
    let seconds = delta.get_days() * DAY + delta.get_seconds();
    let is_even = delta.get_microseconds() == 0 && seconds % 60 == 0;
    Ok(if is_even { Offset::Minutes(seconds / 60) } else { Offset::Uneven })
}

fn put_date(out: &mut impl Sink, value: &impl PyDateAccess) {
    let year = u32::try_from(value.get_year()).unwrap_or_default();
    out.append(&two_digits(year / 100));
    out.append(&two_digits(year % 100));
    out.put(b'-');
    out.append(&two_digits(value.get_month().into()));
    out.put(b'-');
    out.append(&two_digits(value.get_day().into()));
}

fn put_time(out: &mut impl Sink, value: &impl PyTimeAccess) {
    out.append(&two_digits(value.get_hour().into()));
    out.put(b':');
    out.append(&two_digits(value.get_minute().into()));
    out.put(b':');
    out.append(&two_digits(value.get_second().into()));
    let micros = value.get_microsecond();
    if micros > 0 {
        out.put(b'.');
        out.append(&two_digits(micros / 10_000));
        out.append(&two_digits(micros / 100 % 100));
        out.append(&two_digits(micros % 100));
    }
}

fn put_offset(out: &mut impl Sink, offset: Offset) {
    match offset {
        Offset::Minutes(0) => out.put(b'Z'),
        Offset::Minutes(minutes) => {
            out.put(if minutes < 0 { b'-' } else { b'+' });
            out.append(&two_digits(minutes.unsigned_abs() / 60));
            out.put(b':');
            out.append(&two_digits(minutes.unsigned_abs() % 60));
        }
        Offset::Unknown | Offset::Uneven => {}
    }
}
