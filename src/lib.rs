//! Haldane takes new versions of Deployments through canary steps on Kubernetes, and brings them back when they are bad.

pub mod act;
pub mod api;
pub mod cli;
pub mod controller;
pub mod decide;
pub mod error;
pub mod observe;
pub mod serve;
pub mod tell;
