//! Plain objects of Python as the comparison of the core sees them.
//!
//! Only exact builtins are looked into, which runs no Python code: what is borrowed stays where it is.

use std::borrow::Cow;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString};
use swisper_core::error::{Error, Kind};
use swisper_core::json::MAX_DEPTH;
use swisper_core::tree::{ID_KEYS, Member, Shape, Tree};

use crate::dict_items::items;
use crate::encode::{self, Refusal};
use crate::readonly::{as_dict, as_list};

/// A value, of which nobody may change anything as long as it is compared.
#[derive(Clone, Copy)]
pub struct Object<'a, 'py>(pub Borrowed<'a, 'py, PyAny>);

/// Why two objects cannot be compared.
pub enum Failure {
    Core(Error),
    Refusal(Refusal),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

type Outcome<T> = Result<T, Failure>;

impl<'a, 'py: 'a> Tree<'a> for Object<'a, 'py> {
    type Error = Failure;

    fn shape(self) -> Shape {
        match (as_dict(&self.0), as_list(&self.0)) {
            (Some(_), _) => Shape::Object,
            (_, Some(_)) => Shape::Array,
            _ => Shape::Scalar,
        }
    }

    fn same(self, other: Self) -> Outcome<bool> {
        same(&self.0, &other.0, 0)
    }

    fn differing(self, other: Self) -> Outcome<Option<Vec<Member<'a, Self>>>> {
        let (Some(old), Some(new)) = (as_dict(&self.0), as_dict(&other.0)) else { return Ok(None) };
        let (own, others) = (entries(old)?, entries(new)?);
        let alike = own.len() == others.len() && own.iter().zip(&others).all(|((a, _), (b, _))| same_text(a, b));
        let mut members = Vec::new();
        for (at, &(key, value)) in own.iter().enumerate() {
            let found = if alike { others.get(at).map(|&(_, found)| found) } else { get(new, key) };
            if found.map_or(Ok(true), |found| same(&value, &found, 0).map(|same| !same))? {
                members.push(Member { key: name(key)?, old: Some(Object(value)), new: found.map(Object) });
            }
        }
        for &(key, value) in others.iter().filter(|&&(key, _)| !alike && get(old, key).is_none()) {
            members.push(Member { key: name(key)?, old: None, new: Some(Object(value)) });
        }
        Ok(Some(members))
    }

    fn items(self) -> Outcome<Vec<Self>> {
        Ok(as_list(&self.0).map(|list| elements(list).map(Object).collect()).unwrap_or_default())
    }

    fn id(self) -> Outcome<Option<Vec<u8>>> {
        let Some(dict) = as_dict(&self.0) else { return Ok(None) };
        let mut best: Option<(usize, Borrowed<'a, 'py, PyAny>)> = None;
        for (key, value) in entries(dict)? {
            let rank = encode::ascii(&key).and_then(|key| ID_KEYS.iter().position(|own| key == *own));
            let is_id = value.is_exact_instance_of::<PyString>() || value.is_exact_instance_of::<PyInt>();
            if let Some(rank) = rank.filter(|rank| is_id && best.is_none_or(|(before, _)| *rank < before)) {
                best = Some((rank, value));
                if rank == 0 {
                    break;
                }
            }
        }
        let Some((rank, value)) = best else { return Ok(None) };
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(ID_KEYS.get(rank).copied().unwrap_or_default().as_bytes());
        encode::value(&mut out, &value)?;
        Ok(Some(out))
    }

    fn least_size(self) -> usize {
        let members = as_dict(&self.0).map_or(0, |dict| r#""":0,"#.len() * dict.len());
        members + as_list(&self.0).map_or(0, |list| "0,".len() * list.len())
    }

    fn write(self, out: &mut Vec<u8>) -> Outcome<()> {
        Ok(encode::value(out, &self.0)?)
    }
}

fn name<'a>(key: Borrowed<'a, '_, PyString>) -> Outcome<Cow<'a, str>> {
    // SAFETY: the text lies in the key, which lives as long as the dict that is compared.
    let text = unsafe { &*ptr::from_ref(key.to_str().map_err(|_| Refusal::new("a string with a lone surrogate"))?) };
    Ok(Cow::Borrowed(text))
}

/// The members of a dict, whose keys are all exact strings.
fn entries<'a, 'py>(
    dict: &Bound<'py, PyDict>,
) -> Outcome<Vec<(Borrowed<'a, 'py, PyString>, Borrowed<'a, 'py, PyAny>)>> {
    let py = dict.py();
    let mut found = Vec::with_capacity(dict.len());
    // SAFETY: nothing changes the dict, and its members live as long as it does.
    for (key, value) in unsafe { items(dict) } {
        if !key.is_exact_instance_of::<PyString>() {
            return Err(Refusal::new("a key that is not a str").into());
        }
        // SAFETY: as above; the key is a str.
        found.push(unsafe {
            (Borrowed::from_ptr(py, key.as_ptr()).cast_unchecked(), Borrowed::from_ptr(py, value.as_ptr()))
        });
    }
    Ok(found)
}

/// A member of a dict whose keys are all exact strings.
fn get<'a, 'py>(dict: &Bound<'py, PyDict>, key: Borrowed<'_, 'py, PyString>) -> Option<Borrowed<'a, 'py, PyAny>> {
    // SAFETY: both are alive. Strings are compared and nothing fails; what is found lives as long as the dict.
    unsafe { Borrowed::from_ptr_or_opt(dict.py(), ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr())) }
}

fn elements<'a, 'py>(list: &Bound<'py, PyList>) -> impl Iterator<Item = Borrowed<'a, 'py, PyAny>> {
    let (py, list) = (list.py(), list.as_ptr());
    // SAFETY: nothing changes the list, which is alive as its elements are.
    let length = unsafe { ffi::PyList_GET_SIZE(list) };
    // SAFETY: as above, and the index is within the list.
    (0..length).map(move |index| unsafe { Borrowed::from_ptr(py, ffi::PyList_GET_ITEM(list, index)) })
}

/// Strict equality: by value and type.
fn same(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, depth: usize) -> Outcome<bool> {
    if a.is(b) {
        return Ok(true);
    }
    let class = a.get_type_ptr();
    if class != b.get_type_ptr() {
        return same_containers(a, b, depth + 1);
    }
    let is = |builtin: *const ffi::PyTypeObject| ptr::eq(class, builtin);
    // SAFETY: both objects are of the class that was just found; a cast that asks once more builds an error in vain.
    unsafe {
        if is(&raw const ffi::PyUnicode_Type) {
            Ok(same_text(a.cast_unchecked(), b.cast_unchecked()))
        } else if is(&raw const ffi::PyLong_Type) {
            Ok(is_equal(a, b))
        } else if is(&raw const ffi::PyFloat_Type) {
            let (a, b) = (a.cast_unchecked::<PyFloat>().value(), b.cast_unchecked::<PyFloat>().value());
            Ok(a.to_bits() == b.to_bits())
        } else if is(&raw const ffi::PyDict_Type) {
            same_members(a.cast_unchecked(), b.cast_unchecked(), depth + 1)
        } else if is(&raw const ffi::PyList_Type) {
            same_elements(a.cast_unchecked(), b.cast_unchecked(), depth + 1)
        } else {
            same_containers(a, b, depth + 1)
        }
    }
}

/// Containers of which one at least is read-only; anything else differs.
#[cold]
fn same_containers(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, depth: usize) -> Outcome<bool> {
    match ((as_dict(a), as_list(a)), (as_dict(b), as_list(b))) {
        ((Some(a), _), (Some(b), _)) => same_members(a, b, depth),
        ((_, Some(a)), (_, Some(b))) => same_elements(a, b, depth),
        _ => Ok(false),
    }
}

fn same_text(a: &Bound<'_, PyString>, b: &Bound<'_, PyString>) -> bool {
    match (encode::ascii(a), encode::ascii(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => is_equal(a, b),
        _ => false,
    }
}

/// Whether two exact strings or two exact integers are equal.
fn is_equal(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    // SAFETY: both are alive, and two of these types are compared without running Python code, and without an error.
    unsafe { ffi::PyObject_RichCompareBool(a.as_ptr(), b.as_ptr(), ffi::Py_EQ) == 1 }
}

fn same_members(a: &Bound<'_, PyDict>, b: &Bound<'_, PyDict>, depth: usize) -> Outcome<bool> {
    check(depth)?;
    if a.len() != b.len() {
        return Ok(false);
    }
    // SAFETY: nothing changes the dicts.
    let (own, mut others) = unsafe { (items(a), items(b)) };
    for (key, value) in own {
        // Mostly the keys stand in one order; else they are looked up.
        let Some((other, found)) = others.next() else { return Ok(false) };
        if !key.is(&*other) && !same_key(&key, &other) {
            return same_in_any_order(a, b, depth);
        }
        if !same(&value, &found, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_key(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    let both_text = a.is_exact_instance_of::<PyString>() && b.is_exact_instance_of::<PyString>();
    // SAFETY: both are strings.
    both_text && unsafe { same_text(a.cast_unchecked(), b.cast_unchecked()) }
}

fn same_in_any_order(a: &Bound<'_, PyDict>, b: &Bound<'_, PyDict>, depth: usize) -> Outcome<bool> {
    entries(b)?;
    for (key, value) in entries(a)? {
        let Some(found) = get(b, key) else { return Ok(false) };
        if !same(&value, &found, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_elements(a: &Bound<'_, PyList>, b: &Bound<'_, PyList>, depth: usize) -> Outcome<bool> {
    check(depth)?;
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in elements(a).zip(elements(b)) {
        if !same(&a, &b, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check(depth: usize) -> Outcome<()> {
    if depth > MAX_DEPTH { Err(Error::Codec { kind: Kind::TooDeep, index: 0 }.into()) } else { Ok(()) }
}

/// Whether a value is nested deeper than so many containers.
pub fn is_deeper(value: &Bound<'_, PyAny>, allowed: usize) -> bool {
    let inside = |value: &Bound<'_, PyAny>| allowed == 0 || is_deeper(value, allowed - 1);
    match (as_dict(value), as_list(value)) {
        (Some(dict), _) => allowed == 0 || dict.iter().any(|(_, value)| inside(&value)),
        (_, Some(list)) => allowed == 0 || list.iter().any(|value| inside(&value)),
        _ => false,
    }
}
