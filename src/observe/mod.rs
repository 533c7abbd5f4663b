//! World → `Seen`. Reads only, and the only place with a clock.

pub mod clock;
<<<<<<< HEAD
pub mod pods;
pub mod preflight;
pub mod raw;
pub mod seen;
pub mod smoke;
pub mod template;
pub mod workload;
=======
pub mod route;
pub mod seen;
pub mod services;
pub mod traffic;
>>>>>>> 3d263d4 (Routes: a share put in, read, and taken out; Services and routes as seen)
