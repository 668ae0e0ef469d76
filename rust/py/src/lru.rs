//! `LRUCache`: the core's LRU with Python keys and values.
//!
//! It is never borrowed while Python code may run: keys of other than plain types are compared, and what was taken
//! out is dropped, when it is free.

pub mod calls;

use std::cell::{RefCell, RefMut};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyMemoryView, PyString, PyType};
use swisper_core::lru::{Entry, Lru};

use crate::error::wrong_type;
use crate::snapshot::Snapshot;

type Key = Py<PyAny>;
type Value = Py<PyAny>;

/// How often a lookup begins anew because comparing keys has changed the cache.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
struct Inner {
    lru: Lru<Key, Value>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

/// What only whoever holds the GIL looks at: a lock of its own would cost as much as a lookup.
#[derive(Debug)]
struct GilCell<T>(RefCell<T>);

// SAFETY: every access is through a method of a class whose module declares that it needs the GIL, and none of them
// lets go of it while it borrows; so no two threads are in here at once.
unsafe impl<T: Send> Sync for GilCell<T> {}

/// See `_core.pyi`.
#[pyclass(frozen, weakref, module = "swisper_ctx", mapping)]
#[derive(Debug)]
pub struct LRUCache {
    inner: GilCell<Inner>,
    max_bytes: Option<u64>,
    max_entries: Option<usize>,
    ttl: Option<Duration>,
    weigh: Option<Py<PyAny>>,
    start: Instant,
}

/// The borrowed cache, what was found in it, and what is to be dropped after it.
struct Found<'a> {
    inner: RefMut<'a, Inner>,
    slot: Option<u32>,
    gone: Vec<Entry<Key, Value>>,
}

/// Whether two keys are the same, as far as that can be told without running Python code.
fn plainly_equal(own: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> Option<bool> {
    if own.is(key) {
        return Some(true);
    }
    let is_plain = |value: &Bound<'_, PyAny>| {
        value.is_exact_instance_of::<PyString>()
            || value.is_exact_instance_of::<PyInt>()
            || value.is_exact_instance_of::<PyBytes>()
    };
    if is_plain(own) && is_plain(key) { own.eq(key).ok() } else { None }
}

fn hash_of(key: &Bound<'_, PyAny>) -> PyResult<u64> {
    Ok(key.hash()?.cast_unsigned() as u64)
}

impl Inner {
    /// The place of a key; and whether others of the same hash must be asked.
    fn find(&self, key: &Bound<'_, PyAny>, hash: u64) -> (Option<u32>, bool) {
        let mut is_open = false;
        let slot = self.lru.find(hash, |_, own| {
            let same = plainly_equal(own.bind(key.py()), key);
            is_open |= same.is_none();
            same.unwrap_or(false)
        });
        (slot, is_open)
    }

    /// The value in a place, which was asked for.
    fn use_at(&mut self, slot: Option<u32>, py: Python<'_>) -> Option<Value> {
        let Some(slot) = slot else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        self.lru.touch(slot);
        self.lru.get(slot).map(|entry| entry.value.clone_ref(py))
    }

    /// Puts a value into the place of its key, or else into a new one: what was there, and the first that is too much.
    fn put(
        &mut self,
        slot: Option<u32>,
        (hash, key): (u64, &Bound<'_, PyAny>),
        (value, weight, expires): (&Bound<'_, PyAny>, u64, Option<u64>),
    ) -> (Option<Value>, Option<Entry<Key, Value>>) {
        let value = value.clone().unbind();
        let old = if let Some(slot) = slot {
            self.lru.replace(slot, value, weight, expires)
        } else {
            self.lru.insert(hash, key.clone().unbind(), value, weight, expires);
            None
        };
        (old, self.evict())
    }

    fn evict(&mut self) -> Option<Entry<Key, Value>> {
        let entry = self.lru.evict()?;
        self.evictions += 1;
        Some(entry)
    }

    /// All keys with a hash.
    fn alike(&self, py: Python<'_>, hash: u64) -> Vec<(u32, Key)> {
        let mut keys = Vec::new();
        self.lru.find(hash, |slot, own| {
            keys.push((slot, own.clone_ref(py)));
            false
        });
        keys
    }
}

impl LRUCache {
    /// Nothing that runs meanwhile can come back here, so it is always free.
    fn lock(&self) -> RefMut<'_, Inner> {
        self.inner.0.borrow_mut()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The cache, with everything gone whose time is over.
    fn living(&self) -> Found<'_> {
        let mut found = Found { inner: self.lock(), slot: None, gone: Vec::new() };
        if found.inner.lru.has_expiries() {
            let now = self.now();
            while let Some(entry) = found.inner.lru.expire(now) {
                found.gone.push(entry);
            }
        }
        found
    }

    fn locate(&self, key: &Bound<'_, PyAny>, hash: u64) -> PyResult<Found<'_>> {
        let mut found = self.living();
        let (slot, is_open) = found.inner.find(key, hash);
        found.slot = slot;
        if slot.is_some() || !is_open { Ok(found) } else { self.locate_by_asking(key, hash, found) }
    }

    fn locate_by_asking<'a>(&'a self, key: &Bound<'_, PyAny>, hash: u64, first: Found<'a>) -> PyResult<Found<'a>> {
        let mut found = first;
        for _ in 0..ATTEMPTS {
            let (changes, alike) = (found.inner.lru.changes(), found.inner.alike(key.py(), hash));
            drop(found);
            let mut slot = None;
            for (place, own) in &alike {
                if own.bind(key.py()).eq(key)? {
                    slot = Some(*place);
                    break;
                }
            }
            drop(alike);
            found = self.living();
            if found.inner.lru.changes() == changes {
                found.slot = slot;
                return Ok(found);
            }
        }
        Err(PyRuntimeError::new_err("comparing keys has changed the cache again and again"))
    }

    fn value(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
        let mut found = self.locate(key, hash_of(key)?)?;
        let slot = found.slot;
        Ok(found.inner.use_at(slot, key.py()))
    }

    fn weight(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        if let Some(weigh) = &self.weigh {
            let found = weigh.bind(value.py()).call1((value,))?;
            return found.extract().map_err(|_| PyValueError::new_err("weigh= must give an int from 0 to 2**64 - 1"));
        }
        if self.max_bytes.is_some() { raw_size(value) } else { Ok(0) }
    }

    fn store(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, ttl: Option<Duration>) -> PyResult<()> {
        let weight = self.weight(value)?;
        let hash = hash_of(key)?;
        let expires = ttl.map(|ttl| self.now().saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)));
        let mut found = self.locate(key, hash)?;
        if !found.inner.lru.fits(weight) {
            return Err(PyValueError::new_err("value too large"));
        }
        let slot = found.slot;
        let (old, first) = found.inner.put(slot, (hash, key), (value, weight, expires));
        while let Some(entry) = found.inner.evict() {
            found.gone.push(entry);
        }
        drop(found);
        drop_held(key.py(), old, first);
        Ok(())
    }

    fn take(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
        let mut found = self.locate(key, hash_of(key)?)?;
        let entry = found.slot.and_then(|slot| found.inner.lru.remove(slot));
        drop(found);
        Ok(entry.map(|entry| entry.value))
    }

    fn pairs(&self, py: Python<'_>) -> Vec<(Key, Value)> {
        let found = self.living();
        let lru = &found.inner.lru;
        let both = |slot| lru.get(slot).map(|entry| (entry.key.clone_ref(py), entry.value.clone_ref(py)));
        lru.iter().filter_map(both).collect()
    }

    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (key, value) in self.pairs(py) {
            dict.set_item(key, value)?;
        }
        Ok(dict)
    }
}

/// Lets go of what was taken out; to be called when the cache is free.
fn drop_held(py: Python<'_>, value: Option<Value>, entry: Option<Entry<Key, Value>>) {
    drop(value.map(|value| value.into_bound(py)));
    drop(entry.map(|entry| (entry.key.into_bound(py), entry.value.into_bound(py))));
}

/// The bytes of values that consist of bytes.
fn raw_size(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let size = if let Ok(snapshot) = value.cast_exact::<Snapshot>() {
        snapshot.get().state.size()
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        text.encode_utf8()?.len()?
    } else if value.is_exact_instance_of::<PyBytes>() || value.is_exact_instance_of::<PyByteArray>() {
        value.len()?
    } else if value.is_exact_instance_of::<PyMemoryView>() {
        value.getattr("nbytes")?.extract()?
    } else {
        return Err(PyTypeError::new_err(
            "with max_bytes=, values are bytes or str, or weigh= says how large they are",
        ));
    };
    Ok(size as u64)
}

fn time_to_live(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    let found = Duration::try_from_secs_f64(seconds).ok().filter(|ttl| !ttl.is_zero());
    found.map(Some).ok_or_else(|| PyValueError::new_err("a time to live is a number of seconds above 0"))
}

#[pymethods]
impl LRUCache {
    #[new]
    #[pyo3(signature = (max_bytes = None, max_entries = None, ttl = None, weigh = None))]
    fn new(
        max_bytes: Option<u64>,
        max_entries: Option<usize>,
        ttl: Option<f64>,
        weigh: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if let Some(weigh) = weigh.as_ref().filter(|weigh| !weigh.is_callable()) {
            return Err(wrong_type("a function from a value to its size", weigh));
        }
        let lru = Lru::new(max_bytes.unwrap_or(u64::MAX), max_entries.unwrap_or(usize::MAX));
        Ok(Self {
            inner: GilCell(RefCell::new(Inner { lru, hits: 0, misses: 0, evictions: 0 })),
            max_bytes,
            max_entries,
            ttl: time_to_live(ttl)?,
            weigh: weigh.map(Bound::unbind),
            start: Instant::now(),
        })
    }

    #[classmethod]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        cls.py().import("types")?.getattr("GenericAlias")?.call1((cls, item))
    }

    #[getter]
    fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    #[getter]
    fn max_entries(&self) -> Option<usize> {
        self.max_entries
    }

    #[getter]
    fn ttl(&self) -> Option<f64> {
        self.ttl.map(|ttl| ttl.as_secs_f64())
    }

    #[getter]
    fn current_bytes(&self) -> u64 {
        self.living().inner.lru.bytes()
    }

    #[getter]
    fn hits(&self) -> u64 {
        self.lock().hits
    }

    #[getter]
    fn misses(&self) -> u64 {
        self.lock().misses
    }

    #[getter]
    fn evictions(&self) -> u64 {
        self.lock().evictions
    }

    fn __len__(&self) -> usize {
        self.living().inner.lru.len()
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.locate(key, hash_of(key)?)?.slot.is_some())
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Value> {
        self.value(key)?.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(key, value, self.ttl)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.take(key)?.map(drop).ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let keys: Vec<_> = self.pairs(py).into_iter().map(|(key, _)| key).collect();
        Ok(keys.into_pyobject(py)?.try_iter()?.into_any())
    }

    fn __eq__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let other = match other.cast::<Self>() {
            Ok(cache) => cache.get().as_dict(py)?.into_any(),
            Err(_) => other.clone(),
        };
        if !other.is_instance_of::<PyDict>() {
            return Ok(py.NotImplemented().into_bound(py));
        }
        self.as_dict(py)?.rich_compare(other, pyo3::basic::CompareOp::Eq)
    }

    fn __repr__(&self) -> String {
        let found = self.living();
        format!("<LRUCache of {} entries, {} bytes>", found.inner.lru.len(), found.inner.lru.bytes())
    }

    /// See `_core.pyi`.
    #[pyo3(signature = (key, default = None, /))]
    fn peek(&self, key: &Bound<'_, PyAny>, default: Option<Value>) -> PyResult<Option<Value>> {
        let found = self.locate(key, hash_of(key)?)?;
        let entry = found.slot.and_then(|slot| found.inner.lru.get(slot));
        Ok(entry.map(|entry| entry.value.clone_ref(key.py())).or(default))
    }

    /// See `_core.pyi`.
    #[pyo3(signature = (key, value, ttl = None))]
    fn put(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, ttl: Option<f64>) -> PyResult<()> {
        self.store(key, value, time_to_live(ttl)?.or(self.ttl))
    }

    #[pyo3(signature = (key, *default), text_signature = "($self, key, default=..., /)")]
    fn pop(&self, key: &Bound<'_, PyAny>, default: Vec<Value>) -> PyResult<Value> {
        if default.len() > 1 {
            return Err(PyTypeError::new_err("pop takes a key and at most one default"));
        }
        let found = self.take(key)?.or_else(|| default.into_iter().next());
        found.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn popitem(&self) -> PyResult<(Key, Value)> {
        let mut found = self.living();
        let oldest = found.inner.lru.iter().next();
        let entry = oldest.and_then(|slot| found.inner.lru.remove(slot));
        drop(found);
        entry.map(|entry| (entry.key, entry.value)).ok_or_else(|| PyKeyError::new_err("the cache is empty"))
    }

    #[pyo3(signature = (key, default = None, /))]
    fn setdefault(&self, key: &Bound<'_, PyAny>, default: Option<Bound<'_, PyAny>>) -> PyResult<Value> {
        if let Some(value) = self.value(key)? {
            return Ok(value);
        }
        let value = default.unwrap_or_else(|| key.py().None().into_bound(key.py()));
        self.store(key, &value, self.ttl)?;
        Ok(value.unbind())
    }

    fn clear(&self) {
        let mut inner = self.lock();
        let gone = inner.lru.clear();
        drop(inner);
        drop(gone);
    }

    #[pyo3(signature = (other = None, /, **items), text_signature = "($self, other=..., /, **items)")]
    fn update(
        slf: &Bound<'_, Self>,
        other: Option<Bound<'_, PyAny>>,
        items: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let given = PyDict::new(slf.py());
        if let Some(other) = other {
            given.call_method1("update", (other,))?;
        }
        if let Some(items) = items {
            given.update(items.as_mapping())?;
        }
        given.iter().try_for_each(|(key, value)| slf.get().store(&key, &value, slf.get().ttl))
    }

    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_dict(py)?.call_method0("keys")
    }

    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_dict(py)?.call_method0("values")
    }

    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_dict(py)?.call_method0("items")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(weigh) = &self.weigh {
            visit.call(weigh)?;
        }
        // Whoever has borrowed it is at work here: nothing is garbage then.
        let Ok(inner) = self.inner.0.try_borrow() else { return Ok(()) };
        for entry in inner.lru.iter().filter_map(|slot| inner.lru.get(slot)) {
            visit.call(&entry.key)?;
            visit.call(&entry.value)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.clear();
    }
}
