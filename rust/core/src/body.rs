//! The bytes of a stored block, whoever owns them: what a driver has read is not copied. Sealed ones are opened by
//! whoever has the key, when they are needed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::envelope::{self, Place};
use crate::error::{Error, Result};

/// Opens one sealed body.
pub trait Opener: Send + Sync {
    /// Fails with `Error::Opener`.
    fn open(&self) -> Result<Vec<u8>>;

    /// The bytes that it has while it is sealed.
    fn size(&self) -> usize;
}

#[derive(Clone)]
pub struct Body(Owner);

#[derive(Clone)]
enum Owner {
    Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Sealed(Arc<dyn Opener>),
    Wrong,
    Refused(Arc<Error>),
}

impl Body {
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Owner::Bytes(Arc::new(owner)))
    }

    pub fn sealed(opener: impl Opener + 'static) -> Self {
        Self(Owner::Sealed(Arc::new(opener)))
    }

    /// What stands in its place is no body.
    #[must_use]
    pub fn wrong() -> Self {
        Self(Owner::Wrong)
    }

    /// It may be another one's.
    #[must_use]
    pub fn refused(error: Error) -> Self {
        Self(Owner::Refused(Arc::new(error)))
    }

    /// The payload, if it belongs to `place`.
    pub fn open(&self, place: &Place<'_>) -> Result<Vec<u8>> {
        if matches!(self.0, Owner::Wrong) {
            return Err(Error::corrupt(place.name(), "a value of the wrong kind is stored"));
        }
        envelope::open(place, &self.bytes()?)
    }

    /// The envelope, opened if it is sealed.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match &self.0 {
            Owner::Bytes(bytes) => Ok(Cow::Borrowed((**bytes).as_ref())),
            Owner::Sealed(opener) => opener.open().map(Cow::Owned),
            Owner::Wrong => Ok(Cow::default()),
            Owner::Refused(error) => Err(Error::clone(error)),
        }
    }

    /// The length of the payload; of a sealed one, which does not tell, what it has as it is.
    #[must_use]
    pub fn raw_length(&self) -> usize {
        match &self.0 {
            Owner::Bytes(bytes) => envelope::raw_length((**bytes).as_ref()),
            Owner::Sealed(opener) => opener.size(),
            Owner::Wrong | Owner::Refused(_) => 0,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Owner::Bytes(bytes) => write!(to, "{} bytes", (**bytes).as_ref().len()),
            Owner::Sealed(opener) => write!(to, "{} bytes, sealed", opener.size()),
            Owner::Wrong | Owner::Refused(_) => to.write_str("no bytes"),
        }
    }
}
