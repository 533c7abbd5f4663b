//! Everything that is tested against a real API server, as one binary: it is linked once, and shares one control plane.
//! How to write such a test stands at the top of `harness/mod.rs`.

/// The shared API server needs nothing special here.
const API_SERVER_FLAGS: &str = "";

/// All bodies of the operator's writes are audited.
const AUDITED_BODIES: &str = "";

#[cfg(test)]
mod autoscaled;
#[cfg(test)]
mod backtest;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod crd;
#[cfg(test)]
mod every_route;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod harness_works;
#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod prometheus_faults;
#[cfg(test)]
mod purity;
#[cfg(test)]
mod release;
#[cfg(test)]
mod run;
#[cfg(test)]
mod tell;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod workload;
