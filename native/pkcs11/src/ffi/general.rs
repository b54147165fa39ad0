//! The module as a whole, its slots and its sessions.

use std::os::raw::c_void;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::pointers::{give, output, padded};
use super::{guarded, module, MODULE};
use crate::module::Module;
use crate::pkcs11::*;

extern "C" {
    fn geteuid() -> u32;
}

const MANUFACTURER: &str = "edgeroot";

fn version() -> CK_VERSION {
    CK_VERSION { major: 0, minor: 1 }
}

/// Arguments about locks are not needed: the module uses the system's own, and starts no thread.
///
/// # Safety
/// Every function here is called with pointers as PKCS#11 v2.40 has them.
#[no_mangle]
pub unsafe extern "C" fn C_Initialize(_arguments: *mut c_void) -> CK_RV {
    guarded(|| {
        let mut guard = MODULE.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*guard, Some((process, _)) if *process == std::process::id()) {
            return Err(CKR_CRYPTOKI_ALREADY_INITIALIZED);
        }
        let module = Module::new(geteuid())?;
        *guard = Some((std::process::id(), Arc::new(module)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    guarded(|| {
        if !reserved.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        module()?.close_sessions(None);
        *MODULE.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    guarded(|| {
        module()?;
        *output(info)? = CK_INFO {
            cryptokiVersion: CK_VERSION { major: 2, minor: 40 },
            manufacturerID: padded(MANUFACTURER),
            flags: 0,
            libraryDescription: padded("Keys of a Parsec service"),
            libraryVersion: version(),
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetSlotList(_present: u8, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    guarded(|| {
        let slots: Vec<CK_SLOT_ID> = module()?.slots().into_iter().map(CK_SLOT_ID::from).collect();
        give(&slots, list, count)
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    guarded(|| {
        let provider = module()?.provider(slot)?;
        *output(info)? = CK_SLOT_INFO {
            slotDescription: padded(&provider.description),
            manufacturerID: padded(&provider.vendor),
            flags: CKF_TOKEN_PRESENT,
            hardwareVersion: CK_VERSION { major: 0, minor: 0 },
            firmwareVersion: CK_VERSION { major: provider.version.0, minor: provider.version.1 },
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    guarded(|| {
        let provider = module()?.provider(slot)?;
        let label = if provider.name.is_empty() { &provider.description } else { &provider.name };
        let serial: String = provider.uuid.chars().filter(|one| *one != '-').collect();
        *output(info)? = CK_TOKEN_INFO {
            label: padded(label),
            manufacturerID: padded(&provider.vendor),
            model: padded("Parsec"),
            serialNumber: padded(&serial),
            flags: CKF_RNG | CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED,
            ulMaxSessionCount: 0,
            ulSessionCount: CK_UNAVAILABLE_INFORMATION,
            ulMaxRwSessionCount: 0,
            ulRwSessionCount: CK_UNAVAILABLE_INFORMATION,
            ulMaxPinLen: 255,
            ulMinPinLen: 0,
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: CK_VERSION { major: 0, minor: 0 },
            firmwareVersion: CK_VERSION { major: provider.version.0, minor: provider.version.1 },
            utcTime: padded(""),
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| give(&module()?.mechanisms(slot)?, list, count))
}

#[no_mangle]
pub unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    guarded(|| {
        let (ulMinKeySize, ulMaxKeySize, flags) = module()?.mechanism_info(slot, kind)?;
        *output(info)? = CK_MECHANISM_INFO { ulMinKeySize, ulMaxKeySize, flags };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: *const c_void,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    guarded(|| {
        let place = output(session)?;
        *place = module()?.open_session(slot, flags)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| module()?.close_session(session))
}

#[no_mangle]
pub unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.provider(slot)?;
        module.close_sessions(Some(slot));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let found = module.session(session)?;
        let public = if found.is_read_write { CKS_RW_PUBLIC_SESSION } else { CKS_RO_PUBLIC_SESSION };
        let flags = CKF_SERIAL_SESSION | if found.is_read_write { CKF_RW_SESSION } else { 0 };
        *output(info)? = CK_SESSION_INFO {
            slotID: found.slot.into(),
            // The states of a user are each the one after those of the public.
            state: public + CK_ULONG::from(module.is_logged_in.load(Ordering::Relaxed)),
            flags,
            ulDeviceError: 0,
        };
        Ok(())
    })
}

/// Whatever the PIN is: who may use which key is the service's to say, by whom it takes the program for.
#[no_mangle]
pub unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_ULONG,
    _pin: *const u8,
    _length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.session(session)?;
        if user != CKU_CONTEXT_SPECIFIC {
            module.is_logged_in.store(true, Ordering::Relaxed);
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.session(session)?;
        module.is_logged_in.store(false, Ordering::Relaxed);
        Ok(())
    })
}
