//! The functions that programs call. Nothing is decided here: pointers are checked, bytes copied in and out, and a
//! panic ends here as CKR_GENERAL_ERROR.
#![allow(non_snake_case)]

use std::os::raw::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use crate::client::locked;
use crate::mechanism::{digest, Mechanism, Parameter};
use crate::module::{Module, Outcome};
use crate::object::Found;
use crate::pkcs11::*;
use crate::secret::Secret;
use crate::session::{Digesting, Operations, Running, Session};

extern "C" {
    fn geteuid() -> u32;
}

const MANUFACTURER: &str = "edgeroot";
/// No attribute, parameter or message that makes sense is longer; a length that was not set mostly is.
const LENGTH_MAX: CK_ULONG = 1 << 26;
const ATTRIBUTES_MAX: CK_ULONG = 1 << 10;

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

// Pointers

/// SAFETY for the callers: PKCS#11 lets a program pass any pointer; that it is valid is the program's promise.
unsafe fn input<'a, T>(pointer: *const T, count: CK_ULONG) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || count > LENGTH_MAX || (pointer as usize) % std::mem::align_of::<T>() != 0 {
        return Err(CKR_ARGUMENTS_BAD);
    }
    Ok(slice::from_raw_parts(pointer, count as usize))
}

unsafe fn output<'a, T>(pointer: *mut T) -> Outcome<&'a mut T> {
    if (pointer as usize) % std::mem::align_of::<T>() != 0 {
        return Err(CKR_ARGUMENTS_BAD);
    }
    pointer.as_mut().ok_or(CKR_ARGUMENTS_BAD)
}

/// A list into a program's buffer, by the convention of PKCS#11 v2.40 base, clause 5.2.
unsafe fn give<T: Copy>(found: &[T], buffer: *mut T, count: *mut CK_ULONG) -> Outcome<()> {
    let count = output(count)?;
    let room = std::mem::replace(count, found.len() as CK_ULONG);
    if buffer.is_null() {
        return Ok(());
    }
    if room < found.len() as CK_ULONG {
        return Err(CKR_BUFFER_TOO_SMALL);
    }
    std::ptr::copy_nonoverlapping(found.as_ptr(), buffer, found.len());
    Ok(())
}

unsafe fn template(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Outcome<Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>> {
    if count > ATTRIBUTES_MAX {
        return Err(CKR_ARGUMENTS_BAD);
    }
    input(attributes, count)?
        .iter()
        .map(|one| Ok((one.r#type, input(one.pValue as *const u8, one.ulValueLen)?.to_vec())))
        .collect()
}

unsafe fn parameter<T: Copy>(mechanism: &CK_MECHANISM) -> Outcome<T> {
    if mechanism.pParameter.is_null() || mechanism.ulParameterLen as usize != std::mem::size_of::<T>() {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    Ok(std::ptr::read_unaligned(mechanism.pParameter as *const T))
}

unsafe fn mechanism(pointer: *const CK_MECHANISM) -> Outcome<Mechanism> {
    let given = output(pointer as *mut CK_MECHANISM)?;
    let bytes =
        |at: *const u8, count: CK_ULONG| input(at, count).map(<[u8]>::to_vec).map_err(|_| CKR_MECHANISM_PARAM_INVALID);
    let parameter = match given.mechanism {
        CKM_RSA_PKCS_PSS
        | CKM_SHA224_RSA_PKCS_PSS
        | CKM_SHA256_RSA_PKCS_PSS
        | CKM_SHA384_RSA_PKCS_PSS
        | CKM_SHA512_RSA_PKCS_PSS => {
            let pss: CK_RSA_PKCS_PSS_PARAMS = parameter(given)?;
            Parameter::Pss { hash: pss.hashAlg, mgf: pss.mgf, salt_bytes: pss.sLen }
        }
        CKM_RSA_PKCS_OAEP => {
            let oaep: CK_RSA_PKCS_OAEP_PARAMS = parameter(given)?;
            let label = bytes(oaep.pSourceData as *const u8, oaep.ulSourceDataLen)?;
            if !label.is_empty() && oaep.source != CKZ_DATA_SPECIFIED {
                return Err(CKR_MECHANISM_PARAM_INVALID);
            }
            Parameter::Oaep { hash: oaep.hashAlg, mgf: oaep.mgf, label }
        }
        CKM_ECDH1_DERIVE => {
            let ecdh: CK_ECDH1_DERIVE_PARAMS = parameter(given)?;
            Parameter::Ecdh { kdf: ecdh.kdf, peer: bytes(ecdh.pPublicData, ecdh.ulPublicDataLen)? }
        }
        CKM_AES_GCM => {
            let gcm: CK_GCM_PARAMS = parameter(given)?;
            let (nonce, additional_data) = (bytes(gcm.pIv, gcm.ulIvLen)?, bytes(gcm.pAAD, gcm.ulAADLen)?);
            Parameter::Gcm { nonce, additional_data, tag_bits: gcm.ulTagBits }
        }
        _ => Parameter::None,
    };
    Ok(Mechanism { kind: given.mechanism, parameter })
}

/// Text in a field of fixed length, filled with blanks, and cut where a character ends.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

fn version() -> CK_VERSION {
    CK_VERSION { major: 0, minor: 1 }
}

// General

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

// Sessions

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

// Objects

#[no_mangle]
pub unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    attributes: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let place = output(object)?;
        *place = module()?.import(session, &template(attributes, count)?)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        module.destroy(&session, object)
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.session(session)?;
        let object = module.object(object)?;
        if attributes.is_null() || count == 0 || count > ATTRIBUTES_MAX {
            return Err(CKR_ARGUMENTS_BAD);
        }
        // Every attribute is answered; the first that cannot be given decides the code (clause 5.7).
        let mut outcome = Ok(());
        for at in 0..count as usize {
            let one = output(attributes.add(at))?;
            if let Err(code) = give_attribute(one, &module.attribute(&object, one.r#type)?) {
                outcome = outcome.and(Err(code));
            }
        }
        outcome
    })
}

unsafe fn give_attribute(place: &mut CK_ATTRIBUTE, found: &Found) -> Outcome<()> {
    let room = std::mem::replace(&mut place.ulValueLen, CK_UNAVAILABLE_INFORMATION);
    let value = match found {
        Found::Value(value) => value,
        Found::Sensitive => return Err(CKR_ATTRIBUTE_SENSITIVE),
        Found::Unknown => return Err(CKR_ATTRIBUTE_TYPE_INVALID),
    };
    let length = value.len() as CK_ULONG;
    if !place.pValue.is_null() {
        if room < length {
            return Err(CKR_BUFFER_TOO_SMALL);
        }
        std::ptr::copy_nonoverlapping(value.as_ptr(), place.pValue as *mut u8, value.len());
    }
    place.ulValueLen = length;
    Ok(())
}

#[no_mangle]
pub unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    attributes: *const CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        let mut operations = locked(&session.operations);
        if operations.found.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        let mut found = module.find(&session, &template(attributes, count)?)?;
        found.reverse();
        operations.found = Some(found);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let session = module()?.session(session)?;
        let count = output(count)?;
        let mut operations = locked(&session.operations);
        let found = operations.found.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        *count = 0;
        if objects.is_null() && room != 0 {
            return Err(CKR_ARGUMENTS_BAD);
        }
        while *count < room {
            match found.pop() {
                Some(handle) => objects.add(*count as usize).write(handle),
                None => break,
            }
            *count += 1;
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| {
        let session = module()?.session(session)?;
        let ended = locked(&session.operations).found.take();
        ended.map(drop).ok_or(CKR_OPERATION_NOT_INITIALIZED)
    })
}

// Operations on data

/// Begins an operation, or ends it where no mechanism is given (PKCS#11 v3.0, clause 5.2).
unsafe fn begin<T>(
    session: CK_SESSION_HANDLE,
    how: *const CK_MECHANISM,
    kind: impl Fn(&mut Operations) -> &mut Option<T>,
    make: impl FnOnce(&Module, &Session, &Mechanism) -> Outcome<T>,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        let mut operations = locked(&session.operations);
        let running = kind(&mut operations);
        if how.is_null() {
            *running = None;
            return Ok(());
        }
        if running.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        *running = Some(make(&module, &session, &mechanism(how)?)?);
        Ok(())
    })
}

/// Adds data to an operation; an error ends it (clause 5.2).
unsafe fn update<T: Running>(
    session: CK_SESSION_HANDLE,
    kind: impl Fn(&mut Operations) -> &mut Option<T>,
    part: *const u8,
    length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let session = module()?.session(session)?;
        let mut operations = locked(&session.operations);
        let slot = kind(&mut operations);
        let running = slot.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let added = input(part, length).and_then(|part| running.data().add(part));
        if added.is_err() {
            *slot = None;
        }
        added
    })
}

/// Where a result goes.
struct Place {
    buffer: *mut u8,
    count: *mut CK_ULONG,
}

/// Ends an operation: with these data, if it takes them all at once, or with what was added before.
///
/// A result for which there is no room is kept: it is not made twice. A NULL buffer asks for the length only, of which
/// `room` is the most that it can be, by the operation and the number of bytes that are to come.
unsafe fn finish<T: Running>(
    session: CK_SESSION_HANDLE,
    kind: impl Fn(&mut Operations) -> &mut Option<T>,
    all: Option<(*const u8, CK_ULONG)>,
    place: Place,
    room: impl Fn(&T, usize) -> usize,
    make: impl Fn(&Module, &Session, &T) -> Outcome<Secret>,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        let mut operations = locked(&session.operations);
        let slot = kind(&mut operations);
        let running = slot.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let outcome = ended(running, all, place, room, |running| make(&module, &session, running));
        if !matches!(outcome, Ok(false) | Err(CKR_BUFFER_TOO_SMALL)) {
            *slot = None;
        }
        outcome.map(drop)
    })
}

/// Whether the result was given.
unsafe fn ended<T: Running>(
    running: &mut T,
    all: Option<(*const u8, CK_ULONG)>,
    place: Place,
    room: impl Fn(&T, usize) -> usize,
    make: impl FnOnce(&T) -> Outcome<Secret>,
) -> Outcome<bool> {
    let all = all.map(|(data, length)| input(data, length)).transpose()?;
    let known = running.data().result.as_ref().map(|result| result.0.len());
    if place.buffer.is_null() {
        let to_come = all.map_or(running.data().bytes().len(), <[u8]>::len);
        *output(place.count)? = known.unwrap_or_else(|| room(running, to_come)) as CK_ULONG;
        return Ok(false);
    }
    if known.is_none() {
        if let Some(all) = all {
            if !running.data().is_empty() {
                return Err(CKR_OPERATION_ACTIVE);
            }
            running.data().add(all)?;
        }
        let result = make(running)?;
        running.data().result = Some(result);
    }
    let result = running.data().result.as_ref().ok_or(CKR_GENERAL_ERROR)?;
    give(&result.0, place.buffer, place.count).map(|()| true)
}

macro_rules! with_result {
    ($init:ident, $at_once:ident, $last:ident, $kind:ident, $begin:expr, $room:expr, $make:expr) => {
        #[no_mangle]
        pub unsafe extern "C" fn $init(
            session: CK_SESSION_HANDLE,
            how: *const CK_MECHANISM,
            key: CK_OBJECT_HANDLE,
        ) -> CK_RV {
            begin(session, how, |all| &mut all.$kind, |module, session, how| $begin(module, session, how, key))
        }

        #[no_mangle]
        pub unsafe extern "C" fn $at_once(
            session: CK_SESSION_HANDLE,
            data: *const u8,
            length: CK_ULONG,
            buffer: *mut u8,
            count: *mut CK_ULONG,
        ) -> CK_RV {
            finish(session, |all| &mut all.$kind, Some((data, length)), Place { buffer, count }, $room, $make)
        }

        #[no_mangle]
        pub unsafe extern "C" fn $last(session: CK_SESSION_HANDLE, buffer: *mut u8, count: *mut CK_ULONG) -> CK_RV {
            finish(session, |all| &mut all.$kind, None, Place { buffer, count }, $room, $make)
        }
    };
}

with_result!(
    C_SignInit,
    C_Sign,
    C_SignFinal,
    sign,
    |module: &Module, session: &Session, how: &Mechanism, key| module.signing(session, how, key, false),
    |running, _| running.object.output_bytes(),
    |module, _, running| module.sign(running)
);
with_result!(
    C_EncryptInit,
    C_Encrypt,
    C_EncryptFinal,
    encrypt,
    |module: &Module, session: &Session, how: &Mechanism, key| module.crypting(session, how, key, false),
    |running, to_come| running.encrypted_bytes(to_come),
    |module, _, running| module.crypt(running, false)
);
with_result!(
    C_DecryptInit,
    C_Decrypt,
    C_DecryptFinal,
    decrypt,
    |module: &Module, session: &Session, how: &Mechanism, key| module.crypting(session, how, key, true),
    |_, to_come| to_come,
    |module, _, running| module.crypt(running, true)
);

#[no_mangle]
pub unsafe extern "C" fn C_SignUpdate(session: CK_SESSION_HANDLE, part: *const u8, length: CK_ULONG) -> CK_RV {
    update(session, |all| &mut all.sign, part, length)
}

/// Nothing comes out before the end: the service takes a message as a whole.
#[no_mangle]
pub unsafe extern "C" fn C_EncryptUpdate(
    session: CK_SESSION_HANDLE,
    part: *const u8,
    length: CK_ULONG,
    _buffer: *mut u8,
    count: *mut CK_ULONG,
) -> CK_RV {
    if let Some(count) = count.as_mut() {
        *count = 0;
    }
    update(session, |all| &mut all.encrypt, part, length)
}

#[no_mangle]
pub unsafe extern "C" fn C_DecryptUpdate(
    session: CK_SESSION_HANDLE,
    part: *const u8,
    length: CK_ULONG,
    _buffer: *mut u8,
    count: *mut CK_ULONG,
) -> CK_RV {
    if let Some(count) = count.as_mut() {
        *count = 0;
    }
    update(session, |all| &mut all.decrypt, part, length)
}

#[no_mangle]
pub unsafe extern "C" fn C_VerifyInit(
    session: CK_SESSION_HANDLE,
    how: *const CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    begin(session, how, |all| &mut all.verify, |module, session, how| module.signing(session, how, key, true))
}

/// Whatever comes of it, a verification is over then.
unsafe fn verified(
    session: CK_SESSION_HANDLE,
    all: Option<(*const u8, CK_ULONG)>,
    signature: *const u8,
    length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        let mut running = locked(&session.operations).verify.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        if let Some((data, length)) = all {
            if !running.data.is_empty() {
                return Err(CKR_OPERATION_ACTIVE);
            }
            running.data.add(input(data, length)?)?;
        }
        module.verify(&running, input(signature, length)?)
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_Verify(
    session: CK_SESSION_HANDLE,
    data: *const u8,
    length: CK_ULONG,
    signature: *const u8,
    signature_length: CK_ULONG,
) -> CK_RV {
    verified(session, Some((data, length)), signature, signature_length)
}

#[no_mangle]
pub unsafe extern "C" fn C_VerifyUpdate(session: CK_SESSION_HANDLE, part: *const u8, length: CK_ULONG) -> CK_RV {
    update(session, |all| &mut all.verify, part, length)
}

#[no_mangle]
pub unsafe extern "C" fn C_VerifyFinal(session: CK_SESSION_HANDLE, signature: *const u8, length: CK_ULONG) -> CK_RV {
    verified(session, None, signature, length)
}

#[no_mangle]
pub unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, how: *const CK_MECHANISM) -> CK_RV {
    begin(
        session,
        how,
        |all| &mut all.digest,
        |module, session, how| {
            if !module.mechanisms(session.slot.into())?.contains(&how.kind) {
                return Err(CKR_MECHANISM_INVALID);
            }
            Ok(Digesting { hash: digest(how)?, data: Default::default() })
        },
    )
}

#[no_mangle]
pub unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *const u8,
    length: CK_ULONG,
    buffer: *mut u8,
    count: *mut CK_ULONG,
) -> CK_RV {
    let room = |running: &Digesting, _| running.hash.bytes();
    let make = |module: &Module, session: &Session, running: &Digesting| module.digest(session, running);
    finish(session, |all| &mut all.digest, Some((data, length)), Place { buffer, count }, room, make)
}

#[no_mangle]
pub unsafe extern "C" fn C_DigestUpdate(session: CK_SESSION_HANDLE, part: *const u8, length: CK_ULONG) -> CK_RV {
    update(session, |all| &mut all.digest, part, length)
}

#[no_mangle]
pub unsafe extern "C" fn C_DigestFinal(session: CK_SESSION_HANDLE, buffer: *mut u8, count: *mut CK_ULONG) -> CK_RV {
    let room = |running: &Digesting, _| running.hash.bytes();
    let make = |module: &Module, session: &Session, running: &Digesting| module.digest(session, running);
    finish(session, |all| &mut all.digest, None, Place { buffer, count }, room, make)
}

// Making keys, and random numbers

#[no_mangle]
pub unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    how: *const CK_MECHANISM,
    attributes: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let place = output(key)?;
        *place = module()?.generate_key(session, &mechanism(how)?, &template(attributes, count)?)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    how: *const CK_MECHANISM,
    public_attributes: *const CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_attributes: *const CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let (public_place, private_place) = (output(public_key)?, output(private_key)?);
        let (public, private) =
            (template(public_attributes, public_count)?, template(private_attributes, private_count)?);
        let (made_public, made_private) = module()?.generate_pair(session, &mechanism(how)?, &public, &private)?;
        *public_place = made_public;
        *private_place = made_private;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    how: *const CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
    attributes: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let place = output(key)?;
        *place = module()?.derive(session, &mechanism(how)?, base, &template(attributes, count)?)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_GenerateRandom(session: CK_SESSION_HANDLE, buffer: *mut u8, length: CK_ULONG) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let session = module.session(session)?;
        if length > LENGTH_MAX || (buffer.is_null() && length != 0) {
            return Err(CKR_ARGUMENTS_BAD);
        }
        let found = module.random(&session, length as usize)?;
        std::ptr::copy_nonoverlapping(found.0.as_ptr(), buffer, found.0.len());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn C_SeedRandom(session: CK_SESSION_HANDLE, _seed: *const u8, _length: CK_ULONG) -> CK_RV {
    guarded(|| module()?.session(session).and(Err(CKR_RANDOM_SEED_NOT_SUPPORTED)))
}

#[no_mangle]
pub unsafe extern "C" fn C_GetFunctionStatus(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| module()?.session(session).and(Err(CKR_FUNCTION_NOT_PARALLEL)))
}

#[no_mangle]
pub unsafe extern "C" fn C_CancelFunction(session: CK_SESSION_HANDLE) -> CK_RV {
    C_GetFunctionStatus(session)
}

/// Slots come and go with the service's configuration, of which nobody is told.
#[no_mangle]
pub unsafe extern "C" fn C_WaitForSlotEvent(flags: CK_FLAGS, _slot: *mut CK_SLOT_ID, _reserved: *mut c_void) -> CK_RV {
    guarded(|| module().and(Err(if flags & CKF_DONT_BLOCK != 0 { CKR_NO_EVENT } else { CKR_FUNCTION_NOT_SUPPORTED })))
}

// What a Parsec service has nothing for

macro_rules! unsupported {
    ($($name:ident($($argument:ty),*);)*) => {
        $(#[no_mangle]
        pub unsafe extern "C" fn $name($(_: $argument),*) -> CK_RV {
            guarded(|| module().and(Err(CKR_FUNCTION_NOT_SUPPORTED)))
        })*
    };
}

type Bytes = *const u8;
type Buffer = *mut u8;
type Count = *mut CK_ULONG;

unsupported! {
    C_InitToken(CK_SLOT_ID, Bytes, CK_ULONG, Bytes);
    C_InitPIN(CK_SESSION_HANDLE, Bytes, CK_ULONG);
    C_SetPIN(CK_SESSION_HANDLE, Bytes, CK_ULONG, Bytes, CK_ULONG);
    C_GetOperationState(CK_SESSION_HANDLE, Buffer, Count);
    C_SetOperationState(CK_SESSION_HANDLE, Bytes, CK_ULONG, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);
    C_CopyObject(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *const CK_ATTRIBUTE, CK_ULONG, *mut CK_OBJECT_HANDLE);
    C_GetObjectSize(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, Count);
    C_SetAttributeValue(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *const CK_ATTRIBUTE, CK_ULONG);
    C_DigestKey(CK_SESSION_HANDLE, CK_OBJECT_HANDLE);
    C_SignRecoverInit(CK_SESSION_HANDLE, *const CK_MECHANISM, CK_OBJECT_HANDLE);
    C_SignRecover(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_VerifyRecoverInit(CK_SESSION_HANDLE, *const CK_MECHANISM, CK_OBJECT_HANDLE);
    C_VerifyRecover(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_DigestEncryptUpdate(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_DecryptDigestUpdate(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_SignEncryptUpdate(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_DecryptVerifyUpdate(CK_SESSION_HANDLE, Bytes, CK_ULONG, Buffer, Count);
    C_WrapKey(CK_SESSION_HANDLE, *const CK_MECHANISM, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE, Buffer, Count);
    C_UnwrapKey(
        CK_SESSION_HANDLE, *const CK_MECHANISM, CK_OBJECT_HANDLE, Bytes, CK_ULONG, *const CK_ATTRIBUTE, CK_ULONG,
        *mut CK_OBJECT_HANDLE
    );
}

// The list of functions

macro_rules! function_list {
    ($($name:ident,)*) => {
        /// CK_FUNCTION_LIST (PKCS#11 v2.40 base, clause 3.6): every function, in the order of the specification.
        #[repr(C)]
        pub struct CK_FUNCTION_LIST {
            version: CK_VERSION,
            functions: [*const c_void; [$(stringify!($name)),*].len()],
        }

        // SAFETY: pointers to functions, which nobody writes to.
        unsafe impl Sync for CK_FUNCTION_LIST {}

        static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            functions: [$($name as *const c_void),*],
        };
    };
}

function_list! {
    C_Initialize, C_Finalize, C_GetInfo, C_GetFunctionList, C_GetSlotList, C_GetSlotInfo, C_GetTokenInfo,
    C_GetMechanismList, C_GetMechanismInfo, C_InitToken, C_InitPIN, C_SetPIN, C_OpenSession, C_CloseSession,
    C_CloseAllSessions, C_GetSessionInfo, C_GetOperationState, C_SetOperationState, C_Login, C_Logout,
    C_CreateObject, C_CopyObject, C_DestroyObject, C_GetObjectSize, C_GetAttributeValue, C_SetAttributeValue,
    C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal, C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal,
    C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal, C_DigestInit, C_Digest, C_DigestUpdate, C_DigestKey,
    C_DigestFinal, C_SignInit, C_Sign, C_SignUpdate, C_SignFinal, C_SignRecoverInit, C_SignRecover, C_VerifyInit,
    C_Verify, C_VerifyUpdate, C_VerifyFinal, C_VerifyRecoverInit, C_VerifyRecover, C_DigestEncryptUpdate,
    C_DecryptDigestUpdate, C_SignEncryptUpdate, C_DecryptVerifyUpdate, C_GenerateKey, C_GenerateKeyPair, C_WrapKey,
    C_UnwrapKey, C_DeriveKey, C_SeedRandom, C_GenerateRandom, C_GetFunctionStatus, C_CancelFunction,
    C_WaitForSlotEvent,
}

#[no_mangle]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *const CK_FUNCTION_LIST) -> CK_RV {
    guarded(|| {
        *output(list)? = &FUNCTIONS;
        Ok(())
    })
}
