//! The functions that programs call. Nothing is decided here: pointers are checked, bytes copied in and out, and a
//! panic ends here as CKR_GENERAL_ERROR.
#![allow(non_snake_case)]

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, PoisonError, RwLock};

use crate::module::{Module, Outcome};
use crate::pkcs11::*;

mod general;
mod list;
mod objects;
mod operations;
mod pointers;

/// The module of this process: a child of a fork has none until it initializes its own.
static MODULE: RwLock<Option<(u32, Arc<Module>)>> = RwLock::new(None);

fn module() -> Outcome<Arc<Module>> {
    let guard = MODULE.read().unwrap_or_else(PoisonError::into_inner);
    match &*guard {
        Some((process, module)) if *process == std::process::id() => Ok(module.clone()),
        _ => Err(CKR_CRYPTOKI_NOT_INITIALIZED),
    }
}

fn guarded(function: impl FnOnce() -> Outcome<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(code)) => code,
        Err(_) => CKR_GENERAL_ERROR,
    }
}
