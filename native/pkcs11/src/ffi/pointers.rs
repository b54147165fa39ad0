//! From a program's pointers to slices and values, and back.

use std::slice;

use crate::mechanism::{Mechanism, Parameter};
use crate::module::Outcome;
use crate::pkcs11::*;

/// No attribute, parameter or message that makes sense is longer; a length that was not set mostly is.
pub const LENGTH_MAX: CK_ULONG = 1 << 26;
pub const ATTRIBUTES_MAX: CK_ULONG = 1 << 10;

/// SAFETY for the callers: PKCS#11 lets a program pass any pointer; that it is valid is the program's promise.
pub unsafe fn input<'a, T>(pointer: *const T, count: CK_ULONG) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || count > LENGTH_MAX || (pointer as usize) % std::mem::align_of::<T>() != 0 {
        return Err(CKR_ARGUMENTS_BAD);
    }
    Ok(slice::from_raw_parts(pointer, count as usize))
}

pub unsafe fn output<'a, T>(pointer: *mut T) -> Outcome<&'a mut T> {
    if (pointer as usize) % std::mem::align_of::<T>() != 0 {
        return Err(CKR_ARGUMENTS_BAD);
    }
    pointer.as_mut().ok_or(CKR_ARGUMENTS_BAD)
}

/// A list into a program's buffer, by the convention of PKCS#11 v2.40 base, clause 5.2.
pub unsafe fn give<T: Copy>(found: &[T], buffer: *mut T, count: *mut CK_ULONG) -> Outcome<()> {
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

pub unsafe fn template(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Outcome<Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>> {
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

pub unsafe fn mechanism(pointer: *const CK_MECHANISM) -> Outcome<Mechanism> {
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
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}
