//! Everything that is tested against a real API server, as one binary: it is linked once, and shares one control plane.
//! How to write such a test stands at the top of `harness/mod.rs`.

/// MutatingAdmissionPolicies, which are not on by default before Kubernetes 1.36: for Deployments that are held at change.
const API_SERVER_FLAGS: &str =
    "--feature-gates=MutatingAdmissionPolicy=true --runtime-config=admissionregistration.k8s.io/v1beta1=true";

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
mod golden;
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
mod lint;
#[cfg(test)]
mod notify;
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
mod unlink_keys;
#[cfg(test)]
mod workload;
