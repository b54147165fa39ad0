//! The list of functions, and those that a Parsec service has nothing for.

use std::os::raw::c_void;

use super::general::*;
use super::objects::*;
use super::operations::*;
use super::pointers::output;
use super::{guarded, module};
use crate::pkcs11::*;

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
