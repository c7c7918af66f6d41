//! The `Subscribe` stream: many watches over many members in one stream, with bounded memory.

pub mod queue;
pub mod selection;
pub mod session;
mod subscription;
