//! A reader that has gone away (`haldane … | head`) is nobody's error.

use std::{
    io::{self, BufWriter, StdinLock, StdoutLock, Write},
    process::ExitCode,
};

/// Standard input through `work` to standard output. A reader that closed it ends the work quietly.
pub fn through(
    work: impl FnOnce(StdinLock<'static>, &mut BufWriter<StdoutLock<'static>>) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let end = work(io::stdin().lock(), &mut out);
    let flushed = out.flush();
    match end {
        Err(error) if !closed(&error) => return Err(error),
        _ => {}
    }
    match flushed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
