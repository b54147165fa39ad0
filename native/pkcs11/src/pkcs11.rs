//! What PKCS#11 v2.40 (OASIS, cryptoki headers) defines, as far as it is used here; names are the specification's.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

use std::os::raw::{c_ulong, c_void};

pub type CK_BYTE = u8;
pub type CK_ULONG = c_ulong;
pub type CK_RV = CK_ULONG;
pub type CK_FLAGS = CK_ULONG;
pub type CK_SLOT_ID = CK_ULONG;
pub type CK_SESSION_HANDLE = CK_ULONG;
pub type CK_OBJECT_HANDLE = CK_ULONG;
pub type CK_MECHANISM_TYPE = CK_ULONG;
pub type CK_ATTRIBUTE_TYPE = CK_ULONG;
pub type CK_OBJECT_CLASS = CK_ULONG;

pub const CK_UNAVAILABLE_INFORMATION: CK_ULONG = CK_ULONG::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CK_VERSION {
    pub major: CK_BYTE,
    pub minor: CK_BYTE,
}

#[repr(C)]
pub struct CK_INFO {
    pub cryptokiVersion: CK_VERSION,
    pub manufacturerID: [u8; 32],
    pub flags: CK_FLAGS,
    pub libraryDescription: [u8; 32],
    pub libraryVersion: CK_VERSION,
}

#[repr(C)]
pub struct CK_SLOT_INFO {
    pub slotDescription: [u8; 64],
    pub manufacturerID: [u8; 32],
    pub flags: CK_FLAGS,
    pub hardwareVersion: CK_VERSION,
    pub firmwareVersion: CK_VERSION,
}

#[repr(C)]
pub struct CK_TOKEN_INFO {
    pub label: [u8; 32],
    pub manufacturerID: [u8; 32],
    pub model: [u8; 16],
    pub serialNumber: [u8; 16],
    pub flags: CK_FLAGS,
    pub ulMaxSessionCount: CK_ULONG,
    pub ulSessionCount: CK_ULONG,
    pub ulMaxRwSessionCount: CK_ULONG,
    pub ulRwSessionCount: CK_ULONG,
    pub ulMaxPinLen: CK_ULONG,
    pub ulMinPinLen: CK_ULONG,
    pub ulTotalPublicMemory: CK_ULONG,
    pub ulFreePublicMemory: CK_ULONG,
    pub ulTotalPrivateMemory: CK_ULONG,
    pub ulFreePrivateMemory: CK_ULONG,
    pub hardwareVersion: CK_VERSION,
    pub firmwareVersion: CK_VERSION,
    pub utcTime: [u8; 16],
}

#[repr(C)]
pub struct CK_SESSION_INFO {
    pub slotID: CK_SLOT_ID,
    pub state: CK_ULONG,
    pub flags: CK_FLAGS,
    pub ulDeviceError: CK_ULONG,
}

#[repr(C)]
pub struct CK_MECHANISM_INFO {
    pub ulMinKeySize: CK_ULONG,
    pub ulMaxKeySize: CK_ULONG,
    pub flags: CK_FLAGS,
}

#[repr(C)]
pub struct CK_ATTRIBUTE {
    pub r#type: CK_ATTRIBUTE_TYPE,
    pub pValue: *mut c_void,
    pub ulValueLen: CK_ULONG,
}

#[repr(C)]
pub struct CK_MECHANISM {
    pub mechanism: CK_MECHANISM_TYPE,
    pub pParameter: *const c_void,
    pub ulParameterLen: CK_ULONG,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CK_RSA_PKCS_PSS_PARAMS {
    pub hashAlg: CK_MECHANISM_TYPE,
    pub mgf: CK_ULONG,
    pub sLen: CK_ULONG,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CK_RSA_PKCS_OAEP_PARAMS {
    pub hashAlg: CK_MECHANISM_TYPE,
    pub mgf: CK_ULONG,
    pub source: CK_ULONG,
    pub pSourceData: *const c_void,
    pub ulSourceDataLen: CK_ULONG,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CK_ECDH1_DERIVE_PARAMS {
    pub kdf: CK_ULONG,
    pub ulSharedDataLen: CK_ULONG,
    pub pSharedData: *const CK_BYTE,
    pub ulPublicDataLen: CK_ULONG,
    pub pPublicData: *const CK_BYTE,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CK_GCM_PARAMS {
    pub pIv: *const CK_BYTE,
    pub ulIvLen: CK_ULONG,
    pub ulIvBits: CK_ULONG,
    pub pAAD: *const CK_BYTE,
    pub ulAADLen: CK_ULONG,
    pub ulTagBits: CK_ULONG,
}

macro_rules! constants {
    ($type:ty: $($name:ident = $value:expr),* $(,)?) => { $(pub const $name: $type = $value;)* };
}

constants! { CK_RV:
    CKR_OK = 0x00,
    CKR_SLOT_ID_INVALID = 0x03,
    CKR_GENERAL_ERROR = 0x05,
    CKR_FUNCTION_FAILED = 0x06,
    CKR_ARGUMENTS_BAD = 0x07,
    CKR_NO_EVENT = 0x08,
    CKR_ATTRIBUTE_READ_ONLY = 0x10,
    CKR_ATTRIBUTE_SENSITIVE = 0x11,
    CKR_ATTRIBUTE_TYPE_INVALID = 0x12,
    CKR_ATTRIBUTE_VALUE_INVALID = 0x13,
    CKR_ACTION_PROHIBITED = 0x1b,
    CKR_DATA_INVALID = 0x20,
    CKR_DATA_LEN_RANGE = 0x21,
    CKR_DEVICE_ERROR = 0x30,
    CKR_DEVICE_MEMORY = 0x31,
    CKR_ENCRYPTED_DATA_INVALID = 0x40,
    CKR_ENCRYPTED_DATA_LEN_RANGE = 0x41,
    CKR_FUNCTION_NOT_PARALLEL = 0x51,
    CKR_FUNCTION_NOT_SUPPORTED = 0x54,
    CKR_KEY_HANDLE_INVALID = 0x60,
    CKR_KEY_TYPE_INCONSISTENT = 0x63,
    CKR_KEY_FUNCTION_NOT_PERMITTED = 0x68,
    CKR_MECHANISM_INVALID = 0x70,
    CKR_MECHANISM_PARAM_INVALID = 0x71,
    CKR_OBJECT_HANDLE_INVALID = 0x82,
    CKR_OPERATION_ACTIVE = 0x90,
    CKR_OPERATION_NOT_INITIALIZED = 0x91,
    CKR_SESSION_HANDLE_INVALID = 0xb3,
    CKR_SESSION_PARALLEL_NOT_SUPPORTED = 0xb4,
    CKR_SESSION_READ_ONLY = 0xb5,
    CKR_SIGNATURE_INVALID = 0xc0,
    CKR_SIGNATURE_LEN_RANGE = 0xc1,
    CKR_TEMPLATE_INCOMPLETE = 0xd0,
    CKR_TEMPLATE_INCONSISTENT = 0xd1,
    CKR_USER_NOT_LOGGED_IN = 0x101,
    CKR_RANDOM_SEED_NOT_SUPPORTED = 0x120,
    CKR_CURVE_NOT_SUPPORTED = 0x140,
    CKR_BUFFER_TOO_SMALL = 0x150,
    CKR_CRYPTOKI_NOT_INITIALIZED = 0x190,
    CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191,
}

constants! { CK_FLAGS:
    CKF_TOKEN_PRESENT = 0x01,
    CKF_RNG = 0x01,
    CKF_USER_PIN_INITIALIZED = 0x08,
    CKF_TOKEN_INITIALIZED = 0x400,
    CKF_RW_SESSION = 0x02,
    CKF_SERIAL_SESSION = 0x04,
    CKF_HW = 0x01,
    CKF_ENCRYPT = 0x100,
    CKF_DECRYPT = 0x200,
    CKF_DIGEST = 0x400,
    CKF_SIGN = 0x800,
    CKF_VERIFY = 0x2000,
    CKF_GENERATE = 0x8000,
    CKF_GENERATE_KEY_PAIR = 0x10000,
    CKF_DERIVE = 0x80000,
    CKF_EC_F_P = 0x0010_0000,
    CKF_EC_NAMEDCURVE = 0x0080_0000,
    CKF_EC_UNCOMPRESS = 0x0100_0000,
    CKF_DONT_BLOCK = 1,
}

constants! { CK_ULONG:
    CKS_RO_PUBLIC_SESSION = 0,
    CKS_RW_PUBLIC_SESSION = 2,
    CKO_CERTIFICATE = 1,
    CKO_PUBLIC_KEY = 2,
    CKO_PRIVATE_KEY = 3,
    CKO_SECRET_KEY = 4,
    CKK_RSA = 0,
    CKK_EC = 3,
    CKK_GENERIC_SECRET = 0x10,
    CKK_AES = 0x1f,
    CKC_X_509 = 0,
    CKD_NULL = 1,
    CKZ_DATA_SPECIFIED = 1,
    CKG_MGF1_SHA1 = 1,
    CKG_MGF1_SHA256 = 2,
    CKG_MGF1_SHA384 = 3,
    CKG_MGF1_SHA512 = 4,
    CKG_MGF1_SHA224 = 5,
    CKU_CONTEXT_SPECIFIC = 2,
}

constants! { CK_ATTRIBUTE_TYPE:
    CKA_CLASS = 0x00,
    CKA_TOKEN = 0x01,
    CKA_PRIVATE = 0x02,
    CKA_LABEL = 0x03,
    CKA_VALUE = 0x11,
    CKA_CERTIFICATE_TYPE = 0x80,
    CKA_ISSUER = 0x81,
    CKA_SERIAL_NUMBER = 0x82,
    CKA_TRUSTED = 0x86,
    CKA_CERTIFICATE_CATEGORY = 0x87,
    CKA_KEY_TYPE = 0x100,
    CKA_SUBJECT = 0x101,
    CKA_ID = 0x102,
    CKA_SENSITIVE = 0x103,
    CKA_ENCRYPT = 0x104,
    CKA_DECRYPT = 0x105,
    CKA_WRAP = 0x106,
    CKA_UNWRAP = 0x107,
    CKA_SIGN = 0x108,
    CKA_SIGN_RECOVER = 0x109,
    CKA_VERIFY = 0x10a,
    CKA_VERIFY_RECOVER = 0x10b,
    CKA_DERIVE = 0x10c,
    CKA_START_DATE = 0x110,
    CKA_END_DATE = 0x111,
    CKA_MODULUS = 0x120,
    CKA_MODULUS_BITS = 0x121,
    CKA_PUBLIC_EXPONENT = 0x122,
    CKA_PRIVATE_EXPONENT = 0x123,
    CKA_PRIME_1 = 0x124,
    CKA_PRIME_2 = 0x125,
    CKA_EXPONENT_1 = 0x126,
    CKA_EXPONENT_2 = 0x127,
    CKA_COEFFICIENT = 0x128,
    CKA_VALUE_LEN = 0x161,
    CKA_EXTRACTABLE = 0x162,
    CKA_LOCAL = 0x163,
    CKA_NEVER_EXTRACTABLE = 0x164,
    CKA_ALWAYS_SENSITIVE = 0x165,
    CKA_KEY_GEN_MECHANISM = 0x166,
    CKA_MODIFIABLE = 0x170,
    CKA_COPYABLE = 0x171,
    CKA_DESTROYABLE = 0x172,
    CKA_EC_PARAMS = 0x180,
    CKA_EC_POINT = 0x181,
    CKA_ALWAYS_AUTHENTICATE = 0x202,
    CKA_WRAP_WITH_TRUSTED = 0x210,
    CKA_ALLOWED_MECHANISMS = 0x4000_0600,
}

constants! { CK_MECHANISM_TYPE:
    CKM_RSA_PKCS_KEY_PAIR_GEN = 0x00,
    CKM_RSA_PKCS = 0x01,
    CKM_RSA_PKCS_OAEP = 0x09,
    CKM_RSA_PKCS_PSS = 0x0d,
    CKM_SHA256_RSA_PKCS = 0x40,
    CKM_SHA384_RSA_PKCS = 0x41,
    CKM_SHA512_RSA_PKCS = 0x42,
    CKM_SHA256_RSA_PKCS_PSS = 0x43,
    CKM_SHA384_RSA_PKCS_PSS = 0x44,
    CKM_SHA512_RSA_PKCS_PSS = 0x45,
    CKM_SHA224_RSA_PKCS = 0x46,
    CKM_SHA224_RSA_PKCS_PSS = 0x47,
    CKM_SHA_1 = 0x220,
    CKM_SHA256 = 0x250,
    CKM_SHA256_HMAC = 0x251,
    CKM_SHA224 = 0x255,
    CKM_SHA384 = 0x260,
    CKM_SHA384_HMAC = 0x261,
    CKM_SHA512 = 0x270,
    CKM_SHA512_HMAC = 0x271,
    CKM_GENERIC_SECRET_KEY_GEN = 0x350,
    CKM_EC_KEY_PAIR_GEN = 0x1040,
    CKM_ECDSA = 0x1041,
    CKM_ECDSA_SHA224 = 0x1043,
    CKM_ECDSA_SHA256 = 0x1044,
    CKM_ECDSA_SHA384 = 0x1045,
    CKM_ECDSA_SHA512 = 0x1046,
    CKM_ECDH1_DERIVE = 0x1050,
    CKM_AES_KEY_GEN = 0x1080,
    CKM_AES_GCM = 0x1087,
}
