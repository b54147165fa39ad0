//! Objects: made, found, looked into and destroyed; and what makes keys of keys, and random numbers.

use std::os::raw::c_void;

use super::pointers::{mechanism, output, template, ATTRIBUTES_MAX, LENGTH_MAX};
use super::{guarded, module};
use crate::client::locked;
use crate::module::Outcome;
use crate::object::Found;
use crate::pkcs11::*;

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
