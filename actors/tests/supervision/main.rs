//! The supervision library as its users see it: real actors, real threads.

mod restarts;
mod support;
