//! The record classes. A record is its encoded JSON object; a field is decoded when it is read.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::type_object::PyTypeInfo;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};
use swisper_core::error::Error;
use swisper_core::json::{member, members, slice};
use swisper_core::list::Record;
use swisper_core::segment::Packed;
use swisper_core::{equal, text};

use crate::construct;
use crate::decode;
use crate::error::{decode_error, misplaced, raise};
use crate::places::{Key, Places};
use crate::schema::{ENTITY, EXECUTION, FieldSpec, MESSAGE, PRODUCT, Schema};
use crate::{pydantic, slots, time};

/// The text of a record: bytes of its own, or a place in a segment.
#[derive(Debug)]
pub enum Text {
    Own(Py<PyBytes>),
    Shared(Arc<Packed>, usize),
}

impl Text {
    /// Takes over what a list gives.
    pub fn from_list(py: Python<'_>, record: Record) -> Self {
        match record {
            Record::Own(bytes) => Self::Own(PyBytes::new(py, &bytes).unbind()),
            Record::Shared(packed, index) => Self::Shared(packed, index),
        }
    }

    pub fn get<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Own(bytes) => bytes.as_bytes(py),
            Self::Shared(packed, index) => packed.get(*index).unwrap_or_default(),
        }
    }

    pub fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::Own(bytes) => Self::Own(bytes.clone_ref(py)),
            Self::Shared(packed, index) => Self::Shared(Arc::clone(packed), *index),
        }
    }

    pub fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match self {
            Self::Own(bytes) => bytes.bind(py).clone(),
            Self::Shared(..) => PyBytes::new(py, self.get(py)),
        }
    }
}

/// Which record class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Message,
    Product,
    Execution,
    Entity,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Message, Self::Product, Self::Execution, Self::Entity];

    pub fn schema(self) -> &'static Schema {
        match self {
            Self::Message => &MESSAGE,
            Self::Product => &PRODUCT,
            Self::Execution => &EXECUTION,
            Self::Entity => &ENTITY,
        }
    }

    /// The keys of its fields, in their order.
    pub fn keys(self) -> &'static [Key] {
        static KEYS: [OnceLock<Vec<Key>>; 4] = [const { OnceLock::new() }; 4];
        let made = || self.schema().fields.iter().map(|spec| Key::new(spec.name)).collect();
        KEYS.get(self as usize).map_or(&[], |keys| keys.get_or_init(made).as_slice())
    }

    /// The class that a Python type object is.
    pub fn of(class: &Bound<'_, PyAny>) -> PyResult<Self> {
        [Self::Message, Self::Product, Self::Execution, Self::Entity]
            .into_iter()
            .find(|own| own.python(class.py()).is(class))
            .ok_or_else(|| PyTypeError::new_err("a record class was expected"))
    }

    /// Its Python type object.
    pub fn python(self, py: Python<'_>) -> Bound<'_, PyType> {
        match self {
            Self::Message => py.get_type::<Message>(),
            Self::Product => py.get_type::<Product>(),
            Self::Execution => py.get_type::<PipelineExecution>(),
            Self::Entity => py.get_type::<PIIEntity>(),
        }
    }

    /// A Python object for a record.
    pub fn wrap(self, py: Python<'_>, record: Text) -> PyResult<Bound<'_, PyAny>> {
        let class = match self {
            Self::Message => Message::type_object_raw(py),
            Self::Product => Product::type_object_raw(py),
            Self::Execution => PipelineExecution::type_object_raw(py),
            Self::Entity => PIIEntity::type_object_raw(py),
        };
        slots::record(py, class, record)
    }

    /// The text of a Python object of this class, as it lies there.
    pub fn text_of<'a>(self, object: &'a Bound<'_, PyAny>) -> Option<&'a Text> {
        match self {
            Self::Message => object.cast_exact::<Message>().ok().map(|o| &o.get().record),
            Self::Product => object.cast_exact::<Product>().ok().map(|o| &o.get().record),
            Self::Execution => object.cast_exact::<PipelineExecution>().ok().map(|o| &o.get().record),
            Self::Entity => object.cast_exact::<PIIEntity>().ok().map(|o| &o.get().record),
        }
    }

    /// The text of a Python object of this class.
    pub fn unwrap(self, object: &Bound<'_, PyAny>) -> Option<Text> {
        self.text_of(object).map(|text| text.share(object.py()))
    }

    /// The record that an item for a list stands for: one of this class, or a dict.
    pub fn accept(self, item: &Bound<'_, PyAny>) -> PyResult<Text> {
        match self.unwrap(item) {
            Some(record) => Ok(record),
            None => construct::from_dict(self.schema(), item),
        }
    }

    fn parse(self, py: Python<'_>, data: &[u8]) -> PyResult<Text> {
        let decoded = decode::value(py, data)?;
        let dict = decoded.cast::<PyDict>().map_err(|_| decode_error(py, "an object was expected", data, 0))?;
        let again = construct::from_dict(self.schema(), dict.as_any())?;
        // Text that needs no rewriting is kept byte for byte; doubled or escaped keys, white space and numbers that are
        // not written as here need it.
        if is_compact(data) && has_plain_keys(data) && equal::json_and_numbers_alike(again.get(py), data) == Ok(true) {
            return construct::sized(py, data);
        }
        Ok(again)
    }
}

/// Whether no key of an object is written with an escape: keys are compared as they are written.
fn has_plain_keys(data: &[u8]) -> bool {
    let plain = |key: Range<usize>| data.get(key).is_some_and(|raw| !raw.contains(&b'\\'));
    members(data, 0).is_ok_and(|mut all| all.all(|found| found.is_ok_and(|(key, _)| plain(key))))
}

/// Whether text has no white space outside of strings.
fn is_compact(data: &[u8]) -> bool {
    let mut inside = false;
    let mut escaped = false;
    for &byte in data {
        if inside {
            inside = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            inside = true;
        } else if byte.is_ascii_whitespace() {
            return false;
        }
    }
    true
}

fn raw_key(name: &str) -> String {
    format!("\"{name}\"")
}

/// The Python value of a field's JSON text.
pub fn decoded<'py>(py: Python<'py>, src: &[u8], range: Range<usize>, spec: &FieldSpec) -> PyResult<Bound<'py, PyAny>> {
    let raw = slice(src, range).map_err(|error| raise(py, &error, None))?;
    if spec.is_time()
        && let Some((moment, _)) = time::at(py, raw, 0)
    {
        return Ok(moment.into_any());
    }
    let value = decode::read_only(py, raw)?;
    if let (true, Ok(text)) = (spec.is_time(), value.cast::<PyString>()) {
        let moment = time::parse(py, text.to_str()?)?;
        return moment.map_or_else(
            || Err(misplaced(py, "a time that is not RFC 3339, with its offset from UTC", spec.name)),
            |moment| Ok(moment.into_any()),
        );
    }
    Ok(value)
}

/// The value of the field that starts at `at`, and the index behind it. None if there is any doubt: whoever finds its
/// end by itself decodes it then, or says what is wrong.
pub fn decoded_part<'py>(
    py: Python<'py>,
    src: &[u8],
    at: usize,
    spec: &FieldSpec,
) -> Option<(Bound<'py, PyAny>, usize)> {
    let (value, end) = if spec.is_time() {
        let (moment, end) = time::at(py, src, at)?;
        (moment.into_any(), end)
    } else {
        decode::part(py, src, at).ok()?
    };
    matches!(src.get(end), Some(b',' | b'}')).then_some((value, end))
}

fn extra<'py>(py: Python<'py>, record: &Text, schema: &Schema) -> PyResult<Bound<'py, PyDict>> {
    let all = decode::read_only(py, record.get(py))?.cast_into::<PyDict>()?;
    for spec in schema.fields {
        if all.contains(spec.name)? {
            all.del_item(spec.name)?;
        }
    }
    Ok(all)
}

fn hash(py: Python<'_>, record: &Text, schema: &Schema) -> PyResult<u64> {
    let id = member(record.get(py), raw_key(schema.id_key).as_bytes()).map_err(|error| raise(py, &error, None))?;
    let mut hasher = DefaultHasher::new();
    schema.name.hash(&mut hasher);
    // Equal records have equal ids; one without an id is found by comparing.
    if let Some(Ok(id)) = id.map(text::unescape) {
        id.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn same(py: Python<'_>, a: &Text, b: &Text) -> PyResult<bool> {
    equal::json(a.get(py), b.get(py)).map_err(|error: Error| raise(py, &error, None))
}

fn frozen(schema: &Schema, name: &str) -> PyErr {
    let class = schema.name;
    PyAttributeError::new_err(format!(
        "a {class} is frozen: put record.replace({name}=...) into the list in its place, history[i] = ..."
    ))
}

macro_rules! record_class {
    ($class:ident, $python:literal, $which:ident, $vectorcall:ident, $match_args:expr) => {
        // Laid out as `slots` makes and frees it.
        #[repr(C)]
        #[pyclass(frozen, name = $python, module = "swisper_ctx")]
        #[derive(Debug)]
        pub struct $class {
            record: Text,
            places: Places,
        }

        impl $class {
            fn of(record: Text) -> Self {
                Self { record, places: Places::default() }
            }
        }

        unsafe extern "C" fn $vectorcall(
            _class: *mut ffi::PyObject,
            args: *const *mut ffi::PyObject,
            nargsf: usize,
            kwnames: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            // SAFETY: passed on as the interpreter gave it.
            unsafe { construct::vectorcall(Class::$which, args, nargsf, kwnames) }
        }

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*args, **kwargs))]
            fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
                Ok(Self::of(construct::from_call(Class::$which, args, kwargs)?))
            }

            #[classattr]
            #[allow(non_snake_case)]
            fn __match_args__(py: Python<'_>) -> PyResult<Py<PyTuple>> {
                let names: &[&str] = &$match_args;
                Ok(PyTuple::new(py, names)?.unbind())
            }

            #[classattr]
            #[allow(non_snake_case)]
            fn _fields(py: Python<'_>) -> PyResult<Py<PyTuple>> {
                let fields = Class::$which.schema().fields.iter();
                Ok(PyTuple::new(py, fields.map(|spec| (spec.name, spec.kind.name(), spec.required)))?.unbind())
            }

            #[classmethod]
            fn __get_pydantic_core_schema__<'py>(
                cls: &Bound<'py, PyType>,
                _source: &Bound<'py, PyAny>,
                _handler: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyAny>> {
                pydantic::schema(cls.py(), "record_schema", (cls,))
            }

            #[getter]
            fn extra<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                extra(py, &self.record, Class::$which.schema())
            }

            fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                decode::value(py, self.record.get(py))
            }

            #[classmethod]
            fn from_dict(_cls: &Bound<'_, PyType>, source: &Bound<'_, PyAny>) -> PyResult<Self> {
                Ok(Self::of(construct::from_dict(Class::$which.schema(), source)?))
            }

            #[classmethod]
            fn from_json(_cls: &Bound<'_, PyType>, py: Python<'_>, data: &[u8]) -> PyResult<Self> {
                Ok(Self::of(Class::$which.parse(py, data)?))
            }

            #[pyo3(signature = (**changes))]
            fn replace(&self, py: Python<'_>, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
                let Some(changes) = changes else { return Ok(Self::of(self.record.share(py))) };
                Ok(Self::of(construct::replaced(py, Class::$which.schema(), self.record.get(py), changes)?))
            }

            fn __setattr__(&self, name: &str, _value: &Bound<'_, PyAny>) -> PyResult<()> {
                Err(frozen(Class::$which.schema(), name))
            }

            fn __delattr__(&self, name: &str) -> PyResult<()> {
                Err(frozen(Class::$which.schema(), name))
            }

            fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                match other.cast_exact::<Self>() {
                    Ok(other) => Ok(same(py, &self.record, &other.get().record)?
                        .into_pyobject(py)?
                        .to_owned()
                        .into_any()
                        .unbind()),
                    Err(_) => Ok(py.NotImplemented()),
                }
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
                hash(py, &self.record, Class::$which.schema())
            }

            fn __repr__(&self, py: Python<'_>) -> String {
                format!("<{} of {} bytes>", $python, self.record.get(py).len())
            }

            fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
                Ok((py.get_type::<Self>().getattr("from_json")?, (self.record.to_bytes(py),)))
            }

            fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
                slf
            }
        }
    };
}

record_class!(Message, "Message", Message, vectorcall_message, ["role", "content"]);
record_class!(Product, "Product", Product, vectorcall_product, ["product_id", "name"]);
record_class!(PipelineExecution, "PipelineExecution", Execution, vectorcall_execution, ["pipeline_name", "status"]);
record_class!(PIIEntity, "PIIEntity", Entity, vectorcall_entity, ["entity_type", "start", "end"]);

macro_rules! install {
    ($module:ident, $class:ident, $which:ident, $vectorcall:ident) => {{
        let py = $module.py();
        $module.add_class::<$class>()?;
        slots::replace(&py.get_type::<$class>(), $vectorcall)?;
        slots::add_fields(&py.get_type::<$class>(), Class::$which)?;
        let sample = Bound::new(py, $class::of(Text::Own(PyBytes::new(py, b"{}").unbind())))?;
        let text = std::ptr::from_ref(&sample.get().record);
        slots::check(sample.into_any(), text)?;
    }};
}

/// Adds the classes to the module; to be called once.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    install!(module, Message, Message, vectorcall_message);
    install!(module, Product, Product, vectorcall_product);
    install!(module, PipelineExecution, Execution, vectorcall_execution);
    install!(module, PIIEntity, Entity, vectorcall_entity);
    Ok(())
}
