//! The stores that are held to the contract, each empty.

use std::any::Any;

use convault_core::{DestinationName, Store};
use convault_uploader::{DirectoryStore, MemoryStore};

/// A store, and whatever has to live as long as it does.
pub(crate) struct Place {
    pub(crate) store: Box<dyn Store>,
    _kept: Box<dyn Any + Send>,
}

fn destination() -> DestinationName {
    DestinationName::new("offsite").unwrap()
}

pub(crate) async fn memory() -> Option<Place> {
    Some(Place { store: Box::new(MemoryStore::new(destination())), _kept: Box::new(()) })
}

pub(crate) async fn directory() -> Option<Place> {
    let root = tempfile::tempdir().unwrap();
    Some(Place { store: Box::new(DirectoryStore::new(destination(), root.path())), _kept: Box::new(root) })
}
