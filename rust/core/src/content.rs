//! What a state holds: fields that states share, and those that were set last.

use std::sync::Arc;

use crate::field::Field;
use crate::names::FieldNames;

/// Names of fields, which states share.
pub type Names = Arc<FieldNames>;

/// So many fields may differ from those that are shared before they are written to a vector of their own.
pub(crate) const FEW: usize = 4;
/// To hold so many bytes twice is worse than to write the others to a vector of their own.
const LARGE: usize = 64 * 1024;

/// States share all fields but the few that were set last, so that a turn, which sets the same few again and again,
/// counts no references to the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub names: Names,
    pub shared: Arc<Vec<Field>>,
    /// With their places among those that are shared.
    pub latest: Vec<(usize, Field)>,
}

impl Content {
    pub fn push(&mut self, name: &str, field: Field) {
        Arc::make_mut(&mut self.names).push(name);
        Arc::make_mut(&mut self.shared).push(field);
    }

    /// Whether the field that is shared is to be held no longer than needed: it is larger than this one, or a large text.
    pub fn shrinks(&self, place: usize, field: &Field) -> bool {
        self.shared.get(place).is_some_and(|shared| {
            let size = shared.size();
            field.size() < size || size >= LARGE && matches!(shared, Field::Value(_))
        })
    }

    /// Puts the latest fields into their places, if they must or if they are many.
    pub fn settle_if(&mut self, must: bool) {
        if !must && self.latest.len() <= FEW {
            return;
        }
        let fields = Arc::make_mut(&mut self.shared);
        for (at, field) in self.latest.drain(..) {
            if let Some(place) = fields.get_mut(at) {
                *place = field;
            }
        }
    }
}
