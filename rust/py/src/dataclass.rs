//! Dataclasses as objects: each field read from where it stands.

use std::num::NonZero;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use swisper_simd::{Pen, Sink, push_string};

use crate::encode::Outcome;
use crate::instance::Places;
use crate::processor::Processor;
use crate::scalar;
use crate::walk::{Policy, Walk, close, colon, line, open};

/// A name with its quotes and colon is copied as a whole if it is not longer.
const PADDED: usize = 32;

#[derive(Debug)]
struct Field {
    name: Py<PyString>,
    text: [u8; PADDED],
    /// The length of the text; 0 if it is longer than the padded one, and is written each time.
    length: usize,
    long: Vec<u8>,
    /// Which of the fields it is.
    at: usize,
    /// Where the value stands in an instance, for a field with a slot.
    slot: Option<NonZero<isize>>,
}

/// The fields of a dataclass.
#[derive(Debug)]
pub struct Dataclass {
    fields: Vec<Field>,
    /// The same in the order of their names.
    sorted: Vec<Field>,
    /// None where every field has a slot, or only `getattr` may be asked.
    places: Option<Places>,
}

impl Dataclass {
    pub fn of(class: &Bound<'_, PyType>) -> PyResult<Self> {
        static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = class.py();
        let get_fields =
            FIELDS.get_or_try_init(py, || py.import("dataclasses")?.getattr("fields").map(Bound::unbind))?;
        // SAFETY: the type is alive, and the function only compared.
        let is_generic =
            unsafe { (*class.as_type_ptr()).tp_getattro.is_some_and(|own| std::ptr::fn_addr_eq(own, GENERIC)) };
        let mut fields: Vec<Field> = Vec::new();
        let mut is_plain = is_generic;
        for field in get_fields.bind(py).call1((class,))?.try_iter()? {
            let name = field?.getattr("name")?.cast_into::<PyString>()?;
            let found = static_attribute(class, &name)?;
            let slot = found.as_ref().filter(|_| is_generic).and_then(|found| offset(class, found));
            is_plain &= slot.is_some() || found.is_none_or(|found| !is_data_descriptor(&found));
            fields.push(Field::new(&name, fields.len(), slot)?);
        }
        let mut sorted: Vec<_> = fields.iter().map(|field| field.another(py)).collect();
        sorted.sort_by_key(|field| field.shown(py));
        let needs_places = is_plain && Places::can_be_read(py) && fields.iter().any(|field| field.slot.is_none());
        let places = needs_places.then(|| Places::new(fields.len()));
        Ok(Self { fields, sorted, places })
    }

    /// # Safety
    /// The processor is of that kind.
    #[allow(clippy::inline_always)] // Else it is not compiled for that kind.
    #[inline(always)]
    pub unsafe fn write_with<K: Processor, S: Sink, P: Policy>(
        &self,
        walk: &mut Walk<'_, S, P>,
        object: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome {
        let py = object.py();
        let mut pen = open(&mut *walk.out, b'{', depth)?;
        let (mut values, mut is_old) = (std::ptr::null(), self.places.is_some());
        let fields = if walk.policy.sorts_keys() { &self.sorted } else { &self.fields };
        for field in fields {
            // Here what was encoded last is let go of, which may run Python code too.
            if is_old {
                values = self.values(object);
                is_old = false;
            }
            line(&mut pen, walk.policy.indent(), depth);
            pen.next();
            // SAFETY: nothing else was written.
            unsafe { field.write_name(&mut pen) };
            colon(&mut pen, walk.policy.indent());
            let got;
            // SAFETY: the values were looked for after all Python code that ran.
            let value = if let Some(value) = unsafe { self.stored(object, values, field) } {
                value
            } else {
                got = field.get(object)?;
                is_old = self.places.is_some();
                got.as_borrowed()
            };
            // SAFETY: the caller's promise; the name was written before.
            match unsafe { scalar::scalar_with::<K, S>(&mut pen, &value) } {
                Ok(true) => {}
                Ok(false) => {
                    pen.done();
                    let value = value.to_owned();
                    // SAFETY: the caller's promise.
                    let done = unsafe { walk.container_with::<K>(&value, depth) };
                    done.map_err(|refusal| refusal.at(field.shown(py)))?;
                    is_old = self.places.is_some();
                    pen = Pen::new(&mut *walk.out);
                }
                Err(refusal) => return Err(refusal.at(field.shown(py))),
            }
        }
        close(pen, b'}', walk.policy.indent(), depth, self.fields.is_empty());
        Ok(())
    }

    /// Where an object without slots keeps its values; null if that cannot be read.
    #[allow(clippy::inline_always)] // Mostly it is known at once.
    #[inline(always)]
    fn values(&self, object: &Bound<'_, PyAny>) -> *const *mut ffi::PyObject {
        let Some(places) = &self.places else { return std::ptr::null() };
        // SAFETY: the type is that of the object.
        unsafe { places.values(object, object.get_type_ptr(), self.fields.iter().map(|field| &field.name)) }
    }

    /// The value of a field, borrowed; None if only `getattr` can tell.
    ///
    /// # Safety
    /// `values` are those of the object, and no Python code ran since they were looked for.
    #[inline]
    unsafe fn stored<'a, 'py>(
        &self,
        object: &'a Bound<'py, PyAny>,
        values: *const *mut ffi::PyObject,
        field: &Field,
    ) -> Option<Borrowed<'a, 'py, PyAny>> {
        let py = object.py();
        if let Some(slot) = field.slot {
            // SAFETY: the class has a slot there, so its instances have an object or null there.
            return unsafe {
                Borrowed::from_ptr_or_opt(py, *object.as_ptr().byte_offset(slot.get()).cast::<*mut ffi::PyObject>())
            };
        }
        // SAFETY: the caller's promise.
        unsafe { self.places.as_ref()?.get(py, values, field.at) }
    }
}

impl Field {
    fn new(name: &Bound<'_, PyString>, at: usize, slot: Option<NonZero<isize>>) -> PyResult<Self> {
        let name = PyString::intern(name.py(), name.to_str()?);
        let mut long = Vec::new();
        push_string(&mut long, name.to_str()?.as_bytes(), Some(b':'));
        let (mut text, mut length) = ([0; PADDED], 0);
        if let Some(part) = text.get_mut(..long.len()) {
            part.copy_from_slice(&long);
            length = long.len();
        }
        Ok(Self { name: name.unbind(), text, length, long, at, slot })
    }

    fn another(&self, py: Python<'_>) -> Self {
        let (name, long) = (self.name.clone_ref(py), self.long.clone());
        Self { name, long, ..*self }
    }

    #[cold]
    fn shown(&self, py: Python<'_>) -> String {
        self.name.bind(py).to_string_lossy().into_owned()
    }

    /// # Safety
    /// As for `Pen::padded`.
    #[allow(clippy::inline_always)] // For the sake of the pen.
    #[inline(always)]
    unsafe fn write_name<S: Sink>(&self, pen: &mut Pen<'_, S>) {
        if self.length > 0 {
            // SAFETY: the caller's promise; the text is so long.
            unsafe { pen.padded(&self.text, self.length) }
        } else {
            pen.apart(|out| out.append(&self.long));
        }
    }

    /// As `getattr` gets it, without a look at whether the name is a str.
    #[inline]
    fn get<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: both are alive; a new reference, or null with an exception.
        unsafe {
            let get = (*object.get_type_ptr()).tp_getattro.unwrap_or(ffi::PyObject_GetAttr);
            Bound::from_owned_ptr_or_err(object.py(), get(object.as_ptr(), self.name.as_ptr()))
        }
    }
}

const GENERIC: ffi::getattrofunc = ffi::PyObject_GenericGetAttr;

/// What a class or its bases have under a name, as it stands there.
fn static_attribute<'py>(
    class: &Bound<'py, PyType>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    for base in class.mro() {
        let space = base.getattr("__dict__")?;
        if space.contains(name)? {
            return space.get_item(name).map(Some);
        }
    }
    Ok(None)
}

/// Where an instance of `class` keeps what a member descriptor shows of it.
fn offset(class: &Bound<'_, PyType>, found: &Bound<'_, PyAny>) -> Option<NonZero<isize>> {
    // SAFETY: an object of exactly this type is a member descriptor, whose layout is public. That a class is in the
    // mro of another means that its instances begin like those of the base.
    unsafe {
        if found.get_type_ptr() != &raw mut ffi::PyMemberDescr_Type {
            return None;
        }
        let descriptor = found.as_ptr().cast::<ffi::PyMemberDescrObject>();
        let member = (*descriptor).d_member;
        let is_object = matches!((*member).type_code, ffi::Py_T_OBJECT_EX);
        let is_base = ffi::PyType_IsSubtype(class.as_type_ptr(), (*descriptor).d_common.d_type) != 0;
        NonZero::new((*member).offset)
            .filter(|_| is_object && is_base && (*member).flags & ffi::Py_RELATIVE_OFFSET == 0)
    }
}

fn is_data_descriptor(found: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the type of a live object.
    unsafe { (*found.get_type_ptr()).tp_descr_set.is_some() }
}
