//! Which of PKCS#11's mechanisms is which of PSA's algorithms, for a key whose policy permits one of them.

use crate::der;
use crate::parsec::{opcode, Algorithm, Attributes, Hash, KeyType, SignHash};
use crate::pkcs11::*;

/// A mechanism with its parameters, copied out of the program's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanism {
    pub kind: CK_MECHANISM_TYPE,
    pub parameter: Parameter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    None,
    Pss { hash: CK_MECHANISM_TYPE, mgf: CK_ULONG, salt_bytes: CK_ULONG },
    Oaep { hash: CK_MECHANISM_TYPE, mgf: CK_ULONG, label: Vec<u8> },
    Ecdh { kdf: CK_ULONG, peer: Vec<u8> },
    Gcm { nonce: Vec<u8>, additional_data: Vec<u8>, tag_bits: CK_ULONG },
}

/// What a program wants signed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// Of a hash that the program has made.
    EcdsaHash,
    RsaDigestInfo,
    PssHash(Hash),
    /// Of a message.
    Ecdsa(Hash),
    RsaPkcs1v15(Hash),
    Pss(Hash),
    Hmac(Hash),
}

/// A request to sign or to verify.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    Hash(Algorithm, &'a [u8]),
    Message(Algorithm, Hash),
    Mac(Algorithm),
}

impl Signature {
    pub fn of(mechanism: &Mechanism) -> Result<Signature, CK_RV> {
        let (kind, hash) = match mechanism.kind {
            CKM_ECDSA => return Ok(Signature::EcdsaHash),
            CKM_RSA_PKCS => return Ok(Signature::RsaDigestInfo),
            CKM_RSA_PKCS_PSS => return Ok(Signature::PssHash(pss_hash(&mechanism.parameter, None)?)),
            CKM_ECDSA_SHA224 => (Signature::Ecdsa as fn(Hash) -> Signature, Hash::SHA_224),
            CKM_ECDSA_SHA256 => (Signature::Ecdsa as _, Hash::SHA_256),
            CKM_ECDSA_SHA384 => (Signature::Ecdsa as _, Hash::SHA_384),
            CKM_ECDSA_SHA512 => (Signature::Ecdsa as _, Hash::SHA_512),
            CKM_SHA224_RSA_PKCS => (Signature::RsaPkcs1v15 as _, Hash::SHA_224),
            CKM_SHA256_RSA_PKCS => (Signature::RsaPkcs1v15 as _, Hash::SHA_256),
            CKM_SHA384_RSA_PKCS => (Signature::RsaPkcs1v15 as _, Hash::SHA_384),
            CKM_SHA512_RSA_PKCS => (Signature::RsaPkcs1v15 as _, Hash::SHA_512),
            CKM_SHA256_HMAC => (Signature::Hmac as _, Hash::SHA_256),
            CKM_SHA384_HMAC => (Signature::Hmac as _, Hash::SHA_384),
            CKM_SHA512_HMAC => (Signature::Hmac as _, Hash::SHA_512),
            CKM_SHA224_RSA_PKCS_PSS => (Signature::Pss as _, Hash::SHA_224),
            CKM_SHA256_RSA_PKCS_PSS => (Signature::Pss as _, Hash::SHA_256),
            CKM_SHA384_RSA_PKCS_PSS => (Signature::Pss as _, Hash::SHA_384),
            CKM_SHA512_RSA_PKCS_PSS => (Signature::Pss as _, Hash::SHA_512),
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        let signature = kind(hash);
        if let Signature::Pss(hash) = signature {
            pss_hash(&mechanism.parameter, Some(hash))?;
        }
        Ok(signature)
    }

    /// Whether a key can do it at all.
    pub fn suits(self, attributes: &Attributes) -> Result<(), CK_RV> {
        let fits = matches!(
            (self, attributes.key_type),
            (Signature::EcdsaHash | Signature::Ecdsa(_), KeyType::EccKeyPair(_) | KeyType::EccPublicKey(_))
                | (
                    Signature::RsaDigestInfo | Signature::RsaPkcs1v15(_) | Signature::PssHash(_) | Signature::Pss(_),
                    KeyType::RsaKeyPair | KeyType::RsaPublicKey
                )
                | (Signature::Hmac(_), KeyType::Hmac)
        );
        if !fits {
            return Err(CKR_KEY_TYPE_INCONSISTENT);
        }
        let permitted = match (self, attributes.algorithm) {
            (Signature::EcdsaHash, Algorithm::Ecdsa(..) | Algorithm::EcdsaAny)
            | (Signature::RsaDigestInfo, Algorithm::RsaPkcs1v15Sign(_) | Algorithm::RsaPkcs1v15SignRaw) => true,
            (Signature::Ecdsa(hash), Algorithm::Ecdsa(policy, _))
            | (Signature::RsaPkcs1v15(hash), Algorithm::RsaPkcs1v15Sign(policy))
            | (Signature::Pss(hash) | Signature::PssHash(hash), Algorithm::RsaPss(policy)) => policy.allows(hash),
            (Signature::Hmac(hash), Algorithm::Hmac(policy)) => policy == hash,
            _ => false,
        };
        if permitted {
            Ok(())
        } else {
            Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
        }
    }

    /// What to ask the service for, now that all data are here. For a key that it suits.
    pub fn asked<'a>(self, attributes: &Attributes, data: &'a [u8]) -> Result<Asked<'a>, CK_RV> {
        let specific = SignHash::Specific;
        Ok(match (self, attributes.algorithm) {
            (Signature::EcdsaHash, Algorithm::EcdsaAny) => Asked::Hash(Algorithm::EcdsaAny, data),
            (Signature::EcdsaHash, Algorithm::Ecdsa(policy, deterministic)) => {
                let hash = Hash::of_length(data.len()).filter(|hash| policy.allows(*hash)).ok_or(CKR_DATA_LEN_RANGE)?;
                Asked::Hash(Algorithm::Ecdsa(specific(hash), deterministic), data)
            }
            (Signature::RsaDigestInfo, Algorithm::RsaPkcs1v15SignRaw) => {
                Asked::Hash(Algorithm::RsaPkcs1v15SignRaw, data)
            }
            (Signature::RsaDigestInfo, Algorithm::RsaPkcs1v15Sign(policy)) => {
                let (hash, digest) = der::digest_info(data).ok_or(CKR_DATA_INVALID)?;
                if !policy.allows(hash) {
                    return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
                }
                Asked::Hash(Algorithm::RsaPkcs1v15Sign(specific(hash)), digest)
            }
            (Signature::PssHash(hash), _) if data.len() != hash.bytes() => return Err(CKR_DATA_LEN_RANGE),
            (Signature::PssHash(hash), _) => Asked::Hash(Algorithm::RsaPss(specific(hash)), data),
            (Signature::Ecdsa(hash), Algorithm::Ecdsa(_, deterministic)) => {
                Asked::Message(Algorithm::Ecdsa(specific(hash), deterministic), hash)
            }
            (Signature::RsaPkcs1v15(hash), _) => Asked::Message(Algorithm::RsaPkcs1v15Sign(specific(hash)), hash),
            (Signature::Pss(hash), _) => Asked::Message(Algorithm::RsaPss(specific(hash)), hash),
            (Signature::Hmac(hash), _) => Asked::Mac(Algorithm::Hmac(hash)),
            _ => return Err(CKR_KEY_FUNCTION_NOT_PERMITTED),
        })
    }
}

/// PSA's PSS has the mask generation's hash the same, and a salt as long as it (PSA Crypto API, PSA_ALG_RSA_PSS).
fn pss_hash(parameter: &Parameter, wanted: Option<Hash>) -> Result<Hash, CK_RV> {
    let found = match parameter {
        Parameter::Pss { hash, mgf, salt_bytes } => {
            let hash = plain_hash(*hash).ok_or(CKR_MECHANISM_PARAM_INVALID)?;
            Some(hash).filter(|hash| *mgf == mask_of(*hash) && *salt_bytes as usize == hash.bytes())
        }
        _ => None,
    };
    found.filter(|hash| wanted.map_or(true, |wanted| wanted == *hash)).ok_or(CKR_MECHANISM_PARAM_INVALID)
}

fn plain_hash(mechanism: CK_MECHANISM_TYPE) -> Option<Hash> {
    Some(match mechanism {
        CKM_SHA_1 => Hash::SHA_1,
        CKM_SHA224 => Hash::SHA_224,
        CKM_SHA256 => Hash::SHA_256,
        CKM_SHA384 => Hash::SHA_384,
        CKM_SHA512 => Hash::SHA_512,
        _ => return None,
    })
}

fn mask_of(hash: Hash) -> CK_ULONG {
    match hash {
        Hash::SHA_1 => CKG_MGF1_SHA1,
        Hash::SHA_224 => CKG_MGF1_SHA224,
        Hash::SHA_384 => CKG_MGF1_SHA384,
        Hash::SHA_512 => CKG_MGF1_SHA512,
        _ => CKG_MGF1_SHA256,
    }
}

/// The hash of a mechanism that digests.
pub fn digest(mechanism: &Mechanism) -> Result<Hash, CK_RV> {
    plain_hash(mechanism.kind).ok_or(CKR_MECHANISM_INVALID)
}

/// How a message is encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    Rsa { algorithm: Algorithm, label: Vec<u8> },
    Gcm { nonce: Vec<u8>, additional_data: Vec<u8> },
}

impl Encryption {
    pub fn of(mechanism: &Mechanism, attributes: &Attributes) -> Result<Encryption, CK_RV> {
        let (encryption, algorithm) = match (mechanism.kind, &mechanism.parameter) {
            (CKM_RSA_PKCS, _) => {
                let algorithm = Algorithm::RsaPkcs1v15Crypt;
                (Encryption::Rsa { algorithm, label: Vec::new() }, algorithm)
            }
            (CKM_RSA_PKCS_OAEP, Parameter::Oaep { hash, mgf, label }) => {
                let hash =
                    plain_hash(*hash).filter(|hash| *mgf == mask_of(*hash)).ok_or(CKR_MECHANISM_PARAM_INVALID)?;
                let algorithm = Algorithm::RsaOaep(hash);
                (Encryption::Rsa { algorithm, label: label.clone() }, algorithm)
            }
            // The tag as long as PSA's default; one that is shorter is another algorithm in a key's policy.
            (CKM_AES_GCM, Parameter::Gcm { nonce, additional_data, tag_bits: 128 }) => {
                let gcm = Encryption::Gcm { nonce: nonce.clone(), additional_data: additional_data.clone() };
                (gcm, Algorithm::Gcm)
            }
            (CKM_RSA_PKCS_OAEP | CKM_AES_GCM, _) => return Err(CKR_MECHANISM_PARAM_INVALID),
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        if attributes.algorithm == algorithm {
            Ok(encryption)
        } else {
            Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
        }
    }
}

const ECDSA: [(CK_MECHANISM_TYPE, Hash); 4] = [
    (CKM_ECDSA_SHA224, Hash::SHA_224),
    (CKM_ECDSA_SHA256, Hash::SHA_256),
    (CKM_ECDSA_SHA384, Hash::SHA_384),
    (CKM_ECDSA_SHA512, Hash::SHA_512),
];
const RSA: [(CK_MECHANISM_TYPE, Hash); 4] = [
    (CKM_SHA224_RSA_PKCS, Hash::SHA_224),
    (CKM_SHA256_RSA_PKCS, Hash::SHA_256),
    (CKM_SHA384_RSA_PKCS, Hash::SHA_384),
    (CKM_SHA512_RSA_PKCS, Hash::SHA_512),
];
const PSS: [(CK_MECHANISM_TYPE, Hash); 4] = [
    (CKM_SHA224_RSA_PKCS_PSS, Hash::SHA_224),
    (CKM_SHA256_RSA_PKCS_PSS, Hash::SHA_256),
    (CKM_SHA384_RSA_PKCS_PSS, Hash::SHA_384),
    (CKM_SHA512_RSA_PKCS_PSS, Hash::SHA_512),
];
const HMAC: [(CK_MECHANISM_TYPE, Hash); 3] =
    [(CKM_SHA256_HMAC, Hash::SHA_256), (CKM_SHA384_HMAC, Hash::SHA_384), (CKM_SHA512_HMAC, Hash::SHA_512)];

/// CKA_ALLOWED_MECHANISMS of a key.
pub fn allowed(attributes: &Attributes) -> Vec<CK_MECHANISM_TYPE> {
    let of = |raw: Option<CK_MECHANISM_TYPE>, rows: &[(CK_MECHANISM_TYPE, Hash)], policy: SignHash| {
        let named = rows.iter().filter(|row| policy.allows(row.1)).map(|row| row.0);
        raw.into_iter().chain(named).collect()
    };
    match attributes.algorithm {
        Algorithm::Ecdsa(policy, _) => of(Some(CKM_ECDSA), &ECDSA, policy),
        Algorithm::EcdsaAny => vec![CKM_ECDSA],
        Algorithm::RsaPkcs1v15Sign(policy) => of(Some(CKM_RSA_PKCS), &RSA, policy),
        Algorithm::RsaPkcs1v15SignRaw | Algorithm::RsaPkcs1v15Crypt => vec![CKM_RSA_PKCS],
        Algorithm::RsaPss(policy) => of(Some(CKM_RSA_PKCS_PSS), &PSS, policy),
        Algorithm::RsaOaep(_) => vec![CKM_RSA_PKCS_OAEP],
        Algorithm::Ecdh => vec![CKM_ECDH1_DERIVE],
        Algorithm::Hmac(hash) => of(None, &HMAC, SignHash::Specific(hash)),
        Algorithm::Gcm => vec![CKM_AES_GCM],
        Algorithm::None | Algorithm::Other => Vec::new(),
    }
}

/// The policy that lets a key do one of these, and as much more as PSA permits with it: any of SHA-2 for signatures.
pub fn policy(mechanisms: &[CK_MECHANISM_TYPE]) -> Option<Algorithm> {
    let named = |rows: &[(CK_MECHANISM_TYPE, Hash)], raw: CK_MECHANISM_TYPE| {
        mechanisms.iter().any(|one| *one == raw || rows.iter().any(|row| row.0 == *one))
    };
    if named(&ECDSA, CKM_ECDSA) {
        Some(Algorithm::Ecdsa(SignHash::Any, false))
    } else if named(&PSS, CKM_RSA_PKCS_PSS) {
        Some(Algorithm::RsaPss(SignHash::Any))
    } else if named(&RSA, CKM_RSA_PKCS) {
        Some(Algorithm::RsaPkcs1v15Sign(SignHash::Any))
    } else if mechanisms.contains(&CKM_RSA_PKCS_OAEP) {
        Some(Algorithm::RsaOaep(Hash::SHA_256))
    } else if mechanisms.contains(&CKM_ECDH1_DERIVE) {
        Some(Algorithm::Ecdh)
    } else if mechanisms.contains(&CKM_AES_GCM) {
        Some(Algorithm::Gcm)
    } else {
        HMAC.iter().find(|row| mechanisms.contains(&row.0)).map(|row| Algorithm::Hmac(row.1))
    }
}

/// What a provider with these operations can do. `hashes`: whether the service hashes for it.
pub fn offered(opcodes: &[u32], hashes: bool) -> Vec<CK_MECHANISM_TYPE> {
    let has = |opcode: u32| opcodes.contains(&opcode);
    let mut found = Vec::new();
    if has(opcode::PSA_GENERATE_KEY) {
        found.extend([CKM_EC_KEY_PAIR_GEN, CKM_RSA_PKCS_KEY_PAIR_GEN]);
        if has(opcode::PSA_AEAD_ENCRYPT) {
            found.push(CKM_AES_KEY_GEN);
        }
        if has(opcode::PSA_MAC_COMPUTE) {
            found.push(CKM_GENERIC_SECRET_KEY_GEN);
        }
    }
    if has(opcode::PSA_SIGN_HASH) {
        found.extend([CKM_ECDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS]);
        if has(opcode::PSA_SIGN_MESSAGE) || hashes {
            found.extend([ECDSA, RSA, PSS].concat().iter().map(|row| row.0));
        }
    }
    if has(opcode::PSA_ASYMMETRIC_DECRYPT) {
        found.push(CKM_RSA_PKCS_OAEP);
        if !found.contains(&CKM_RSA_PKCS) {
            found.push(CKM_RSA_PKCS);
        }
    }
    if has(opcode::PSA_RAW_KEY_AGREEMENT) {
        found.push(CKM_ECDH1_DERIVE);
    }
    if has(opcode::PSA_MAC_COMPUTE) {
        found.extend(HMAC.iter().map(|row| row.0));
    }
    if has(opcode::PSA_AEAD_ENCRYPT) {
        found.push(CKM_AES_GCM);
    }
    if hashes {
        found.extend([CKM_SHA224, CKM_SHA256, CKM_SHA384, CKM_SHA512]);
    }
    found
}

/// CK_MECHANISM_INFO: least and largest key size, and flags.
pub fn info(mechanism: CK_MECHANISM_TYPE, decrypts: bool) -> (CK_ULONG, CK_ULONG, CK_FLAGS) {
    let curves = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
    let crypt = if decrypts { CKF_ENCRYPT | CKF_DECRYPT } else { 0 };
    match mechanism {
        CKM_EC_KEY_PAIR_GEN => (192, 521, CKF_GENERATE_KEY_PAIR | curves),
        CKM_RSA_PKCS_KEY_PAIR_GEN => (1024, 4096, CKF_GENERATE_KEY_PAIR),
        CKM_ECDSA => (192, 521, CKF_SIGN | CKF_VERIFY | curves),
        CKM_ECDH1_DERIVE => (192, 521, CKF_DERIVE | curves),
        CKM_RSA_PKCS => (1024, 4096, CKF_SIGN | CKF_VERIFY | crypt),
        CKM_RSA_PKCS_OAEP => (1024, 4096, CKF_ENCRYPT | CKF_DECRYPT),
        CKM_AES_KEY_GEN => (16, 32, CKF_GENERATE),
        CKM_GENERIC_SECRET_KEY_GEN => (1, 512, CKF_GENERATE),
        CKM_AES_GCM => (16, 32, CKF_ENCRYPT | CKF_DECRYPT),
        CKM_SHA_1 | CKM_SHA224 | CKM_SHA256 | CKM_SHA384 | CKM_SHA512 => (0, 0, CKF_DIGEST),
        _ if HMAC.iter().any(|row| row.0 == mechanism) => (1, 512, CKF_SIGN | CKF_VERIFY),
        _ if ECDSA.iter().any(|row| row.0 == mechanism) => (192, 521, CKF_SIGN | CKF_VERIFY | curves),
        _ => (1024, 4096, CKF_SIGN | CKF_VERIFY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parsec::{Usage, SECP_R1};

    fn key(key_type: KeyType, algorithm: Algorithm) -> Attributes {
        Attributes { key_type, bits: 256, usage: Usage::default(), algorithm }
    }

    fn plain(kind: CK_MECHANISM_TYPE) -> Mechanism {
        Mechanism { kind, parameter: Parameter::None }
    }

    #[test]
    fn a_hash_is_known_by_its_length() {
        let device = key(KeyType::EccKeyPair(SECP_R1), Algorithm::Ecdsa(SignHash::Specific(Hash::SHA_256), false));
        let signature = Signature::of(&plain(CKM_ECDSA)).unwrap();
        signature.suits(&device).unwrap();
        let algorithm = Algorithm::Ecdsa(SignHash::Specific(Hash::SHA_256), false);
        assert_eq!(signature.asked(&device, &[1; 32]), Ok(Asked::Hash(algorithm, &[1; 32])));
        for length in [0, 20, 31, 48, 64] {
            assert_eq!(signature.asked(&device, &vec![1; length]), Err(CKR_DATA_LEN_RANGE));
        }
    }

    #[test]
    fn a_key_does_what_its_policy_permits() {
        let pss = key(KeyType::RsaKeyPair, Algorithm::RsaPss(SignHash::Any));
        assert_eq!(Signature::RsaDigestInfo.suits(&pss), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
        assert_eq!(Signature::PssHash(Hash::SHA_384).suits(&pss), Ok(()));
        assert_eq!(Signature::EcdsaHash.suits(&pss), Err(CKR_KEY_TYPE_INCONSISTENT));
        let policies = [
            Algorithm::Ecdsa(SignHash::Any, false),
            Algorithm::RsaPkcs1v15Sign(SignHash::Any),
            Algorithm::RsaPss(SignHash::Any),
            Algorithm::RsaOaep(Hash::SHA_256),
            Algorithm::Ecdh,
            Algorithm::Gcm,
            Algorithm::Hmac(Hash::SHA_384),
        ];
        for algorithm in policies {
            assert_eq!(policy(&allowed(&key(KeyType::Other, algorithm))), Some(algorithm));
        }
    }

    #[test]
    fn pss_is_what_psa_has() {
        let parameter = |hash, mgf, salt_bytes| Parameter::Pss { hash, mgf, salt_bytes };
        let of = |parameter| Signature::of(&Mechanism { kind: CKM_RSA_PKCS_PSS, parameter });
        assert_eq!(of(parameter(CKM_SHA256, CKG_MGF1_SHA256, 32)), Ok(Signature::PssHash(Hash::SHA_256)));
        for wrong in
            [parameter(CKM_SHA256, CKG_MGF1_SHA1, 32), parameter(CKM_SHA256, CKG_MGF1_SHA256, 20), Parameter::None]
        {
            assert_eq!(of(wrong), Err(CKR_MECHANISM_PARAM_INVALID));
        }
        let other = Mechanism { kind: CKM_SHA384_RSA_PKCS_PSS, parameter: parameter(CKM_SHA256, CKG_MGF1_SHA256, 32) };
        assert_eq!(Signature::of(&other), Err(CKR_MECHANISM_PARAM_INVALID));
    }
}
