//! A reader that has gone away (`haldane … | head`) is nobody's error.

use std::io;

pub fn closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
