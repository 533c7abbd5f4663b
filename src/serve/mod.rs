//! What others may ask of this process over HTTP, and its log.

pub mod http;
pub mod log;
