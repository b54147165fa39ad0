//! Making keys: generated, imported, and by which policy.

use std::fs::File;
use std::io::Read;

use super::templates::{is_set, mechanisms_of, number_of, value_of, Template};
use super::{refused, token_object, Module, Outcome};
use crate::client::{locked, Failure};
use crate::mechanism::{self, Mechanism};
use crate::naming::{Naming, SESSION_PREFIX};
use crate::object::classes;
use crate::parsec::{self, opcode, status, Algorithm, Attributes, Hash, KeyType, SignHash, Usage};
use crate::pkcs11::*;
use crate::secret::Secret;

impl Module {
    /// Handles of the public and of the private key.
    pub fn generate_pair(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
    ) -> Outcome<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let both = [private, public].concat();
        let is_elliptic = match mechanism.kind {
            CKM_EC_KEY_PAIR_GEN => true,
            CKM_RSA_PKCS_KEY_PAIR_GEN => false,
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        let (key_type, bits) = if is_elliptic {
            let (family, bits) = crate::der::curve(value_of(&both, CKA_EC_PARAMS).ok_or(CKR_TEMPLATE_INCOMPLETE)?)
                .ok_or(CKR_CURVE_NOT_SUPPORTED)?;
            (KeyType::EccKeyPair(family), bits)
        } else {
            let bits = number_of(&both, CKA_MODULUS_BITS)?.ok_or(CKR_TEMPLATE_INCOMPLETE)?;
            if value_of(&both, CKA_PUBLIC_EXPONENT).map_or(false, |one| !one.is_empty() && !one.ends_with(&[1, 0, 1])) {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID);
            }
            (KeyType::RsaKeyPair, u32::try_from(bits).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?)
        };
        let signs = is_set(private, CKA_SIGN)? || is_set(public, CKA_VERIFY)?;
        let decrypts = is_set(private, CKA_DECRYPT)? || is_set(public, CKA_ENCRYPT)?;
        let derives = is_set(private, CKA_DERIVE)?;
        let algorithm = match mechanism::policy(&mechanisms_of(&both)?) {
            Some(Algorithm::RsaPkcs1v15Sign(_)) if decrypts && !signs => Algorithm::RsaPkcs1v15Crypt,
            Some(algorithm) => algorithm,
            None if is_elliptic && derives && !signs => Algorithm::Ecdh,
            None if is_elliptic => Algorithm::Ecdsa(SignHash::Any, false),
            None if decrypts && !signs => Algorithm::RsaOaep(Hash::SHA_256),
            None => Algorithm::RsaPkcs1v15Sign(SignHash::Any),
        };
        let usage = usage_for(algorithm, exportable(private)?);
        let handles = self.create(session, &both, Attributes { key_type, bits, usage, algorithm }, None)?;
        match handles[..] {
            [private, public] => Ok((public, private)),
            _ => Err(CKR_GENERAL_ERROR),
        }
    }

    pub fn generate_key(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        template: &Template,
    ) -> Outcome<CK_OBJECT_HANDLE> {
        let bytes = number_of(template, CKA_VALUE_LEN)?.ok_or(CKR_TEMPLATE_INCOMPLETE)?;
        let bits = u32::try_from(bytes * 8).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?;
        let (key_type, default) = match mechanism.kind {
            CKM_AES_KEY_GEN => (KeyType::Aes, Algorithm::Gcm),
            CKM_GENERIC_SECRET_KEY_GEN => (KeyType::Hmac, Algorithm::Hmac(Hash::SHA_256)),
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
        let usage = usage_for(algorithm, exportable(template)?);
        let handles = self.create(session, template, Attributes { key_type, bits, usage, algorithm }, None)?;
        handles.first().copied().ok_or(CKR_GENERAL_ERROR)
    }

    /// C_CreateObject: keys and certificates.
    pub fn import(&self, session: CK_SESSION_HANDLE, template: &Template) -> Outcome<CK_OBJECT_HANDLE> {
        let needed = |kind| value_of(template, kind).ok_or(CKR_TEMPLATE_INCOMPLETE);
        let nothing = Usage::default();
        let class = number_of(template, CKA_CLASS)?.ok_or(CKR_TEMPLATE_INCOMPLETE)?;
        let (attributes, data) = match (class, number_of(template, CKA_KEY_TYPE)?) {
            (CKO_CERTIFICATE, _) => {
                let der = needed(CKA_VALUE)?;
                crate::der::certificate(der).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
                let usage = Usage { export: true, ..nothing };
                (Attributes { key_type: KeyType::RawData, bits: 0, usage, algorithm: Algorithm::None }, der.to_vec())
            }
            (CKO_PUBLIC_KEY, Some(CKK_EC)) => {
                let curve = crate::der::curve(needed(CKA_EC_PARAMS)?).ok_or(CKR_CURVE_NOT_SUPPORTED)?;
                let point = needed(CKA_EC_POINT)?;
                let algorithm = Algorithm::Ecdsa(SignHash::Any, false);
                let usage = Usage { verify_hash: true, verify_message: true, export: true, ..nothing };
                let attributes =
                    Attributes { key_type: KeyType::EccPublicKey(curve.0), bits: curve.1, usage, algorithm };
                (attributes, crate::der::octets(point).unwrap_or(point).to_vec())
            }
            (CKO_PUBLIC_KEY, Some(CKK_RSA)) => {
                let der = crate::der::rsa_public_key_of(needed(CKA_MODULUS)?, needed(CKA_PUBLIC_EXPONENT)?);
                let encrypts = is_set(template, CKA_ENCRYPT)? && !is_set(template, CKA_VERIFY)?;
                let default = if encrypts {
                    Algorithm::RsaOaep(Hash::SHA_256)
                } else {
                    Algorithm::RsaPkcs1v15Sign(SignHash::Any)
                };
                let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
                let all = usage_for(algorithm, true);
                let usage = Usage { sign_hash: false, sign_message: false, decrypt: false, ..all };
                (Attributes { key_type: KeyType::RsaPublicKey, bits: 0, usage, algorithm }, der)
            }
            (CKO_PRIVATE_KEY, Some(CKK_EC)) => {
                let (family, bits) = crate::der::curve(needed(CKA_EC_PARAMS)?).ok_or(CKR_CURVE_NOT_SUPPORTED)?;
                let scalar = padded(needed(CKA_VALUE)?, (bits as usize + 7) / 8)?;
                let default = match is_set(template, CKA_DERIVE)? && !is_set(template, CKA_SIGN)? {
                    true => Algorithm::Ecdh,
                    false => Algorithm::Ecdsa(SignHash::Any, false),
                };
                let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
                let usage = usage_for(algorithm, exportable(template)?);
                (Attributes { key_type: KeyType::EccKeyPair(family), bits, usage, algorithm }, scalar)
            }
            (CKO_PRIVATE_KEY, Some(CKK_RSA)) => {
                let parts = [CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2];
                let parts = parts.iter().chain(&[CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT]);
                let parts = parts.map(|kind| needed(*kind)).collect::<Outcome<Vec<_>>>()?;
                let default = match is_set(template, CKA_DECRYPT)? && !is_set(template, CKA_SIGN)? {
                    true => Algorithm::RsaOaep(Hash::SHA_256),
                    false => Algorithm::RsaPkcs1v15Sign(SignHash::Any),
                };
                let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
                let usage = usage_for(algorithm, exportable(template)?);
                let attributes = Attributes { key_type: KeyType::RsaKeyPair, bits: 0, usage, algorithm };
                (attributes, crate::der::rsa_private_key_of(&parts).0.clone())
            }
            (CKO_SECRET_KEY, Some(kind @ (CKK_AES | CKK_GENERIC_SECRET))) => {
                let value = needed(CKA_VALUE)?;
                let (key_type, default) = if kind == CKK_AES {
                    (KeyType::Aes, Algorithm::Gcm)
                } else {
                    (KeyType::Hmac, Algorithm::Hmac(Hash::SHA_256))
                };
                let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
                let usage = usage_for(algorithm, exportable(template)?);
                (Attributes { key_type, bits: value.len() as u32 * 8, usage, algorithm }, value.to_vec())
            }
            _ => return Err(CKR_ATTRIBUTE_VALUE_INVALID),
        };
        let handles = self.create(session, template, attributes, Some(Secret(data)))?;
        handles.first().copied().ok_or(CKR_GENERAL_ERROR)
    }

    /// A key by a template, generated or of this material, and the handles of its objects.
    fn create(
        &self,
        handle: CK_SESSION_HANDLE,
        template: &Template,
        attributes: Attributes,
        material: Option<Secret>,
    ) -> Outcome<Vec<CK_OBJECT_HANDLE>> {
        let session = self.session(handle)?;
        let on_token = is_set(template, CKA_TOKEN)?;
        if on_token && !session.is_read_write {
            return Err(CKR_SESSION_READ_ONLY);
        }
        let text = |kind| value_of(template, kind).unwrap_or_default();
        let label = String::from_utf8(text(CKA_LABEL).to_vec()).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?;
        let is_certificate = attributes.key_type == KeyType::RawData;
        let mut naming = Naming { label, id: text(CKA_ID).to_vec(), is_certificate, slot: None };
        let chance = unique()?;
        if naming.label.is_empty() && naming.id.is_empty() {
            naming.label = format!("key-{chance}");
        }
        if naming.id.is_empty() {
            naming.id = naming.label.clone().into_bytes();
        }
        let name_of = |naming: &Naming| match on_token {
            true => naming.name(),
            false => format!("{SESSION_PREFIX}{}-{chance}", std::process::id()),
        };
        let mut provider = session.slot;
        let mut made = self.make(provider, &name_of(&naming), attributes, material.as_ref());
        if is_certificate && made == Err(CKR_TEMPLATE_INCONSISTENT) {
            // A TPM or a token keeps no certificates: they are public, and any other provider will do.
            naming.slot = Some(session.slot);
            for other in self.slots().into_iter().filter(|other| *other != session.slot) {
                if made != Err(CKR_TEMPLATE_INCONSISTENT) {
                    break;
                }
                provider = other;
                made = self.make(provider, &name_of(&naming), attributes, material.as_ref());
            }
        }
        let (known_attributes, name) = (made?, name_of(&naming));
        let mut objects = locked(&self.objects);
        objects.changes += 1;
        let shown = classes(&known_attributes, is_certificate);
        Ok(shown
            .iter()
            .map(|class| {
                let mut object = token_object(*class, provider, &name, naming.clone(), known_attributes);
                object.session = if on_token { None } else { Some(handle) };
                objects.add_made(object)
            })
            .collect())
    }

    /// Not every back end knows the policy "any hash": there the curve's usual hash is taken, or SHA-256.
    fn make(&self, slot: u8, name: &str, attributes: Attributes, material: Option<&Secret>) -> Outcome<Attributes> {
        let ask = |attributes: Attributes| match material {
            None => self.client.ask(opcode::PSA_GENERATE_KEY, slot, &parsec::generate_key(name, attributes)),
            Some(data) => self.client.ask(opcode::PSA_IMPORT_KEY, slot, &parsec::import_key(name, attributes, &data.0)),
        };
        let usual = match attributes.bits {
            384 => SignHash::Specific(Hash::SHA_384),
            512 | 521 => SignHash::Specific(Hash::SHA_512),
            _ => SignHash::Specific(Hash::SHA_256),
        };
        let narrower = match attributes.algorithm {
            Algorithm::Ecdsa(SignHash::Any, deterministic) => Some(Algorithm::Ecdsa(usual, deterministic)),
            Algorithm::RsaPkcs1v15Sign(SignHash::Any) => {
                Some(Algorithm::RsaPkcs1v15Sign(SignHash::Specific(Hash::SHA_256)))
            }
            Algorithm::RsaPss(SignHash::Any) => Some(Algorithm::RsaPss(SignHash::Specific(Hash::SHA_256))),
            _ => None,
        };
        match (ask(attributes), narrower) {
            (Ok(_), _) => Ok(attributes),
            (Err(Failure::Status(status::PSA_NOT_SUPPORTED | status::PSA_INVALID_ARGUMENT)), Some(algorithm)) => {
                let narrowed = Attributes { algorithm, ..attributes };
                ask(narrowed).map(|_| narrowed).map_err(not_made)
            }
            (Err(failure), _) => Err(not_made(failure)),
        }
    }
}

fn usage_for(algorithm: Algorithm, export: bool) -> Usage {
    let none = Usage { export, ..Usage::default() };
    match algorithm {
        Algorithm::Ecdh => Usage { derive: true, ..none },
        Algorithm::RsaOaep(_) | Algorithm::RsaPkcs1v15Crypt | Algorithm::Gcm => {
            Usage { encrypt: true, decrypt: true, ..none }
        }
        _ => Usage { sign_hash: true, sign_message: true, verify_hash: true, verify_message: true, ..none },
    }
}

fn exportable(template: &Template) -> Outcome<bool> {
    Ok(is_set(template, CKA_EXTRACTABLE)? && !is_set(template, CKA_SENSITIVE)?)
}

/// A number as long as it has to be, whatever zeros the program has put before it.
fn padded(number: &[u8], bytes: usize) -> Outcome<Vec<u8>> {
    let digits = &number[number.iter().take_while(|digit| **digit == 0).count()..];
    let missing = bytes.checked_sub(digits.len()).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
    Ok([&vec![0; missing], digits].concat())
}

/// What no two keys have.
fn unique() -> Outcome<String> {
    let mut chance = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut chance));
    read.map_err(|_| CKR_FUNCTION_FAILED)?;
    Ok(chance.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn not_made(failure: Failure) -> CK_RV {
    match failure {
        Failure::Status(status::PSA_NOT_SUPPORTED | status::PSA_INVALID_ARGUMENT) => CKR_TEMPLATE_INCONSISTENT,
        Failure::Status(status::PSA_ALREADY_EXISTS) => CKR_ATTRIBUTE_VALUE_INVALID,
        _ => refused(failure),
    }
}
