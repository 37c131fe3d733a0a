//! Files that others write: what tells that one has changed, and how to look whether it has.

pub mod events;
pub mod stamp;

pub use events::{FileEvents, Listening};
pub use stamp::Stamp;
