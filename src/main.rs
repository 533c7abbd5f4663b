//! The binary. Everything is in the library, so that tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Two TLS users are linked and neither brings its own cryptography: name it before the first use. An error means
    // that somebody has done so already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    haldane::cli::main()
}
