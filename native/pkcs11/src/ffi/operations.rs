//! Operations on data: in one go, or part by part.

use super::pointers::{give, input, mechanism, output};
use super::{guarded, module};
use crate::client::locked;
use crate::mechanism::{digest, Mechanism};
use crate::module::{Module, Outcome};
use crate::pkcs11::*;
use crate::secret::Secret;
use crate::session::{Digesting, Operations, Running, Session};

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

/// An update of which nothing comes out before the end: the service takes a message as a whole.
macro_rules! gathering {
    ($name:ident, $kind:ident) => {
        #[no_mangle]
        pub unsafe extern "C" fn $name(
            session: CK_SESSION_HANDLE,
            part: *const u8,
            length: CK_ULONG,
            _buffer: *mut u8,
            count: *mut CK_ULONG,
        ) -> CK_RV {
            if let Some(count) = count.as_mut() {
                *count = 0;
            }
            update(session, |all| &mut all.$kind, part, length)
        }
    };
}

gathering!(C_EncryptUpdate, encrypt);
gathering!(C_DecryptUpdate, decrypt);

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
