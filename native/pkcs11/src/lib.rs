//! A PKCS#11 v2.40 module (OASIS) in front of a Parsec service: slots are its providers, objects its keys.
//!
//! No key is ever here: every private operation is a request to the service. `ffi` may be unsafe, and does nothing
//! but check pointers and hand on slices; `secret` overwrites bytes, `socket` sends them. All else is safe
//! Rust.

#[forbid(unsafe_code)]
pub mod client;
#[forbid(unsafe_code)]
pub mod der;
pub mod ffi;
#[forbid(unsafe_code)]
pub mod mechanism;
#[forbid(unsafe_code)]
pub mod module;
#[forbid(unsafe_code)]
pub mod naming;
#[forbid(unsafe_code)]
pub mod object;
#[forbid(unsafe_code)]
pub mod parsec;
pub mod pkcs11;
#[forbid(unsafe_code)]
pub mod proto;
pub mod secret;
#[forbid(unsafe_code)]
pub mod session;
pub mod socket;
#[forbid(unsafe_code)]
pub mod wire;
