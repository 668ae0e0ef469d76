//! `swisper_ctx._core`: the core as Python sees it. Every public name is documented in `_core.pyi`.

mod attached;
mod chat;
mod construct;
mod dataclass;
mod decode;
mod delta;
mod dict_items;
mod dumps;
mod encode;
mod error;
mod groups;
mod histogram;
mod instance;
mod kernels;
mod layouts;
mod loads;
mod lru;
mod named;
mod number;
mod objects;
mod output;
mod patch;
mod patched;
mod places;
mod plan;
mod processor;
mod pydantic;
mod random;
mod readonly;
mod rebase;
mod record;
mod record_list;
mod rfc3339;
mod salvage;
mod save;
mod scalar;
mod schema;
mod sealed;
mod sealing;
mod select;
mod shapes;
mod short_text;
mod slots;
mod small_int;
mod snapshot;
mod stack;
mod stored;
mod text;
mod time;
mod types;
mod utf8;
mod uuid;
mod waiting;
mod walk;
mod whole;

use pyo3::prelude::*;

// Records and lists are not yet tested without the GIL.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    layouts::probe(module.py())?;
    short_text::install(module.py())?;
    record::install(module)?;
    module.add_class::<record_list::RecordList>()?;
    module.add_class::<snapshot::Snapshot>()?;
    module.add_class::<delta::Delta>()?;
    module.add_class::<groups::Groups>()?;
    module.add_class::<save::Save>()?;
    module.add_class::<stored::Stored>()?;
    module.add_function(wrap_pyfunction!(dumps::dumps, module)?)?;
    module.add_function(wrap_pyfunction!(loads::loads, module)?)?;
    module.add_function(wrap_pyfunction!(kernels::choose_kernels, module)?)?;
    module.add_function(wrap_pyfunction!(layouts::read_directly, module)?)?;
    lru::calls::install(module)?;
    module.add_class::<rebase::Conflict>()?;
    module.add_function(wrap_pyfunction!(rebase::rebase, module)?)?;
    module.add_function(wrap_pyfunction!(rebase::reset, module)?)?;
    module.add_class::<histogram::Histogram>()?;
    module.add_function(wrap_pyfunction!(chat::chat_form, module)?)?;
    module.add_function(wrap_pyfunction!(random::token, module)?)?;
    module.add_function(wrap_pyfunction!(time::system_clock, module)?)?;
    module.add_function(wrap_pyfunction!(save::moved_expiry, module)?)?;
    module.add_function(wrap_pyfunction!(delta::append_frame, module)?)?;
    module.add_function(wrap_pyfunction!(snapshot::plain, module)?)?;
    module.add_function(wrap_pyfunction!(delta::patch_of, module)?)?;
    module.add_function(wrap_pyfunction!(salvage::salvage, module)?)?;
    module.add_function(wrap_pyfunction!(snapshot::check_block, module)?)?;
    module.add_class::<patch::Patch>()?;
    module.add_function(wrap_pyfunction!(patch::diff, module)?)?;
    module.add_function(wrap_pyfunction!(patch::apply_patch, module)?)?;
    let forget = wrap_pyfunction!(random::forget_random, module)?;
    let kwargs = pyo3::types::PyDict::new(module.py());
    kwargs.set_item("after_in_child", forget)?;
    module.py().import("os")?.call_method("register_at_fork", (), Some(&kwargs))?;
    Ok(())
}
