//! The auditor must be seen to fail: a made-up sequence for each invariant that breaks it.
