//! Keys as PKCS#11's objects: classes and attributes (PKCS#11 v2.40 base, clause 4).

use std::sync::{Arc, Mutex};

use crate::client::locked;
use crate::der;
use crate::mechanism;
use crate::naming::Naming;
use crate::parsec::{Algorithm, Attributes, KeyType};
use crate::pkcs11::*;
use crate::secret::Secret;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Certificate,
    PublicKey,
    PrivateKey,
    SecretKey,
}

pub struct Object {
    pub class: Class,
    pub slot: u8,
    /// Who has it: the slot's own provider, but for a certificate that it could not keep.
    pub provider: u8,
    /// The key's name in the service; None for what is in this session only.
    pub key_name: Option<String>,
    pub naming: Naming,
    pub attributes: Attributes,
    /// Whose end is its end.
    pub session: Option<CK_SESSION_HANDLE>,
    /// The public key as the service exports it, the certificate, or a shared secret, once it is known.
    pub material: Mutex<Option<Arc<Secret>>>,
}

/// What C_GetAttributeValue says of an attribute.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Value(Vec<u8>),
    Sensitive,
    Unknown,
}

/// The objects that a key is shown as.
pub fn classes(attributes: &Attributes, is_certificate: bool) -> &'static [Class] {
    match attributes.key_type {
        KeyType::RsaKeyPair | KeyType::EccKeyPair(_) => &[Class::PrivateKey, Class::PublicKey],
        KeyType::RsaPublicKey | KeyType::EccPublicKey(_) => &[Class::PublicKey],
        KeyType::Aes | KeyType::Hmac => &[Class::SecretKey],
        KeyType::RawData if is_certificate => &[Class::Certificate],
        KeyType::RawData | KeyType::Other => &[],
    }
}

impl Object {
    pub fn known_material(&self) -> Option<Arc<Secret>> {
        locked(&self.material).clone()
    }

    /// Whether an attribute is to be read from the public key, or from the certificate.
    pub fn needs_material(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        match self.class {
            Class::Certificate => {
                matches!(kind, CKA_VALUE | CKA_SUBJECT | CKA_ISSUER | CKA_SERIAL_NUMBER)
            }
            Class::PublicKey | Class::PrivateKey => match kind {
                CKA_MODULUS | CKA_PUBLIC_EXPONENT | CKA_EC_POINT => true,
                // A key that was imported without its size.
                CKA_MODULUS_BITS | CKA_EC_PARAMS => self.attributes.bits == 0,
                _ => false,
            },
            Class::SecretKey => false,
        }
    }

    pub fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Found {
        let common = match kind {
            CKA_CLASS => number(self.class_number()),
            CKA_TOKEN => flag(self.session.is_none()),
            // Who may use a key is decided by whom the service takes the program for, not by a PIN.
            CKA_PRIVATE => flag(false),
            CKA_LABEL => Found::Value(self.naming.label.clone().into_bytes()),
            CKA_ID if self.class != Class::SecretKey || !self.naming.id.is_empty() => {
                Found::Value(self.naming.id.clone())
            }
            CKA_MODIFIABLE | CKA_COPYABLE => flag(false),
            CKA_DESTROYABLE => flag(true),
            _ => Found::Unknown,
        };
        if common != Found::Unknown {
            return common;
        }
        let material = self.known_material();
        let material = material.as_deref().map(|one| one.0.as_slice());
        match self.class {
            Class::Certificate => certificate_attribute(kind, material),
            _ => self.key_attribute(kind, material),
        }
    }

    fn class_number(&self) -> CK_ULONG {
        match self.class {
            Class::Certificate => CKO_CERTIFICATE,
            Class::PublicKey => CKO_PUBLIC_KEY,
            Class::PrivateKey => CKO_PRIVATE_KEY,
            Class::SecretKey => CKO_SECRET_KEY,
        }
    }

    fn key_attribute(&self, kind: CK_ATTRIBUTE_TYPE, material: Option<&[u8]>) -> Found {
        let usage = self.attributes.usage;
        let (public, secret) = (self.class == Class::PublicKey, self.class == Class::SecretKey);
        let private = self.class == Class::PrivateKey;
        match kind {
            CKA_KEY_TYPE => number(match self.attributes.key_type {
                KeyType::RsaKeyPair | KeyType::RsaPublicKey => CKK_RSA,
                KeyType::EccKeyPair(_) | KeyType::EccPublicKey(_) => CKK_EC,
                KeyType::Aes => CKK_AES,
                _ => CKK_GENERIC_SECRET,
            }),
            CKA_SIGN if !public => flag(usage.sign_hash || usage.sign_message),
            CKA_VERIFY if !private => flag(usage.verify_hash || usage.verify_message),
            CKA_DECRYPT if !public => flag(usage.decrypt),
            CKA_ENCRYPT if !private => flag(usage.encrypt),
            CKA_DERIVE => flag(!public && usage.derive),
            CKA_WRAP | CKA_VERIFY_RECOVER if !private => flag(false),
            CKA_UNWRAP | CKA_SIGN_RECOVER if !public => flag(false),
            CKA_TRUSTED if !private => flag(false),
            CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE if !public => {
                flag(self.key_name.is_some() && !usage.export)
            }
            CKA_EXTRACTABLE if !public => flag(self.key_name.is_none() || usage.export),
            CKA_ALWAYS_AUTHENTICATE | CKA_WRAP_WITH_TRUSTED if !public => flag(false),
            // Whether it was made where it is nobody has written down.
            CKA_LOCAL => flag(false),
            CKA_KEY_GEN_MECHANISM => number(CK_UNAVAILABLE_INFORMATION),
            CKA_START_DATE | CKA_END_DATE => Found::Value(Vec::new()),
            CKA_SUBJECT if !secret => Found::Value(Vec::new()),
            CKA_ALLOWED_MECHANISMS => {
                let allowed = mechanism::allowed(&self.attributes);
                Found::Value(allowed.iter().flat_map(|one| one.to_ne_bytes()).collect())
            }
            CKA_VALUE_LEN if secret => match (&self.key_name, material) {
                (None, Some(value)) => number(value.len() as CK_ULONG),
                _ => number(CK_ULONG::from(self.attributes.bits / 8)),
            },
            CKA_VALUE if secret && self.key_name.is_none() => material.map_or(Found::Unknown, value),
            CKA_VALUE | CKA_PRIVATE_EXPONENT..=CKA_COEFFICIENT if !public => Found::Sensitive,
            _ => self.public_attribute(kind, material),
        }
    }

    fn public_attribute(&self, kind: CK_ATTRIBUTE_TYPE, material: Option<&[u8]>) -> Found {
        match (self.attributes.key_type, kind) {
            (KeyType::RsaKeyPair | KeyType::RsaPublicKey, _) => {
                let parts = material.and_then(der::rsa_public_key);
                match (kind, parts) {
                    (CKA_MODULUS, Some((modulus, _))) => Found::Value(modulus),
                    (CKA_PUBLIC_EXPONENT, Some((_, exponent))) => Found::Value(exponent),
                    (CKA_MODULUS_BITS, parts) => {
                        let bits = parts.map_or(self.attributes.bits, |(modulus, _)| bits_of(&modulus));
                        number(CK_ULONG::from(bits))
                    }
                    _ => Found::Unknown,
                }
            }
            (KeyType::EccKeyPair(family) | KeyType::EccPublicKey(family), CKA_EC_PARAMS) => {
                let of_point = material.map_or(0, |point| (point.len() as u32).saturating_sub(1) / 2 * 8);
                let bits = if self.attributes.bits == 0 { of_point } else { self.attributes.bits };
                der::curve_parameters(family, bits).map_or(Found::Unknown, Found::Value)
            }
            (KeyType::EccKeyPair(_) | KeyType::EccPublicKey(_), CKA_EC_POINT) => {
                material.map_or(Found::Unknown, |point| Found::Value(der::octet_string(point)))
            }
            _ => Found::Unknown,
        }
    }

    /// How long its signatures are, and its RSA ciphertexts.
    pub fn output_bytes(&self) -> usize {
        let whole = |bits: u32| (bits as usize + 7) / 8;
        match (self.attributes.key_type, self.attributes.algorithm) {
            (_, Algorithm::Hmac(hash)) => hash.bytes(),
            // Imported without its size: as much as there can be.
            _ if self.attributes.bits == 0 => 512,
            (KeyType::EccKeyPair(_) | KeyType::EccPublicKey(_), _) => 2 * whole(self.attributes.bits),
            _ => whole(self.attributes.bits),
        }
    }
}

fn certificate_attribute(kind: CK_ATTRIBUTE_TYPE, material: Option<&[u8]>) -> Found {
    let parsed = material.and_then(der::certificate);
    match kind {
        CKA_CERTIFICATE_TYPE => number(CKC_X_509),
        CKA_CERTIFICATE_CATEGORY => number(0),
        CKA_TRUSTED => flag(false),
        CKA_START_DATE | CKA_END_DATE => Found::Value(Vec::new()),
        CKA_VALUE => material.map_or(Found::Unknown, value),
        CKA_SUBJECT => parsed.map_or(Found::Unknown, |one| value(one.subject)),
        CKA_ISSUER => parsed.map_or(Found::Unknown, |one| value(one.issuer)),
        CKA_SERIAL_NUMBER => parsed.map_or(Found::Unknown, |one| value(one.serial_number)),
        _ => Found::Unknown,
    }
}

fn bits_of(modulus: &[u8]) -> u32 {
    modulus.first().map_or(0, |first| modulus.len() as u32 * 8 - first.leading_zeros())
}

fn value(bytes: &[u8]) -> Found {
    Found::Value(bytes.to_vec())
}

fn flag(is_set: bool) -> Found {
    Found::Value(vec![is_set.into()])
}

fn number(value: CK_ULONG) -> Found {
    Found::Value(value.to_ne_bytes().to_vec())
}
