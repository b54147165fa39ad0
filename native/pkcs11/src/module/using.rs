//! Using keys: signatures, encryption, agreement, and what needs no key.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use super::templates::{is_set, number_of, value_of, Template};
use super::{refused, Module, Outcome};
use crate::client::{locked, Failure};
use crate::mechanism::{Asked, Encryption, Mechanism, Parameter, Signature};
use crate::naming::Naming;
use crate::object::{Class, Object};
use crate::parsec::{self, opcode, status, Algorithm, Attributes, Hash, KeyType, Usage};
use crate::pkcs11::*;
use crate::secret::Secret;
use crate::session::{Crypting, Digesting, Session, Signing};

impl Module {
    pub fn signing(
        &self,
        session: &Session,
        mechanism: &Mechanism,
        key: CK_OBJECT_HANDLE,
        verify: bool,
    ) -> Outcome<Signing> {
        let object = self.key(session, key)?;
        let signature = Signature::of(mechanism)?;
        signature.suits(&object.attributes)?;
        let usage = object.attributes.usage;
        let permitted = match object.class {
            Class::PrivateKey => !verify && (usage.sign_hash || usage.sign_message),
            Class::PublicKey => verify && (usage.verify_hash || usage.verify_message),
            Class::SecretKey if verify => usage.verify_hash || usage.verify_message,
            Class::SecretKey => usage.sign_hash || usage.sign_message,
            Class::Certificate => false,
        };
        if !permitted {
            return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        Ok(Signing { object, signature, data: Default::default() })
    }

    /// A signature of all data that the operation has.
    pub fn sign(&self, signing: &Signing) -> Outcome<Secret> {
        let (object, name) = (&signing.object, signing.object.key_name.as_deref().ok_or(CKR_KEY_HANDLE_INVALID)?);
        let asked = signing.signature.asked(&object.attributes, signing.data.bytes())?;
        let (opcode, body) = match self.hashed_for(object.provider, asked, signing.data.bytes())? {
            Request::Hash(algorithm, hash) => (opcode::PSA_SIGN_HASH, parsec::sign(name, algorithm, &hash)),
            Request::Message(algorithm) => {
                (opcode::PSA_SIGN_MESSAGE, parsec::sign(name, algorithm, signing.data.bytes()))
            }
            Request::Mac(algorithm) => {
                (opcode::PSA_MAC_COMPUTE, parsec::mac_compute(name, algorithm, signing.data.bytes()))
            }
        };
        let answer = self.client.ask(opcode, object.provider, &body).map_err(refused)?;
        parsec::bytes_of(&answer.0).map(Secret).map_err(|_| CKR_DEVICE_ERROR)
    }

    pub fn verify(&self, signing: &Signing, signature: &[u8]) -> Outcome<()> {
        let (object, name) = (&signing.object, signing.object.key_name.as_deref().ok_or(CKR_KEY_HANDLE_INVALID)?);
        if object.attributes.bits != 0 && signature.len() != object.output_bytes() {
            return Err(CKR_SIGNATURE_LEN_RANGE);
        }
        let data = signing.data.bytes();
        let asked = signing.signature.asked(&object.attributes, data)?;
        let (opcode, body) = match self.hashed_for(object.provider, asked, data)? {
            Request::Hash(algorithm, hash) => {
                (opcode::PSA_VERIFY_HASH, parsec::verify(name, algorithm, &hash, signature))
            }
            Request::Message(algorithm) => {
                (opcode::PSA_VERIFY_MESSAGE, parsec::verify(name, algorithm, data, signature))
            }
            Request::Mac(algorithm) => (opcode::PSA_MAC_VERIFY, parsec::mac_verify(name, algorithm, data, signature)),
        };
        self.client.ask(opcode, object.provider, &body).map_err(refused).map(drop)
    }

    /// A provider that does not sign messages is given their hash, which the service makes, too.
    fn hashed_for<'a>(&self, slot: u8, asked: Asked<'a>, data: &[u8]) -> Outcome<Request<'a>> {
        match asked {
            Asked::Hash(algorithm, hash) => Ok(Request::Hash(algorithm, Cow::Borrowed(hash))),
            Asked::Mac(algorithm) => Ok(Request::Mac(algorithm)),
            Asked::Message(algorithm, _) if self.offers(slot, opcode::PSA_SIGN_MESSAGE)? => {
                Ok(Request::Message(algorithm))
            }
            Asked::Message(algorithm, hash) => Ok(Request::Hash(algorithm, Cow::Owned(self.hash(slot, hash, data)?))),
        }
    }

    fn hash(&self, slot: u8, hash: Hash, data: &[u8]) -> Outcome<Vec<u8>> {
        let hasher = self.hasher(slot).ok_or(CKR_MECHANISM_INVALID)?;
        let body = parsec::hash_compute(hash, data);
        let answer = self.client.ask_as_nobody(opcode::PSA_HASH_COMPUTE, hasher, &body).map_err(refused)?;
        parsec::bytes_of(&answer.0).map_err(|_| CKR_DEVICE_ERROR)
    }

    pub fn digest(&self, session: &Session, digesting: &Digesting) -> Outcome<Secret> {
        self.hash(session.slot, digesting.hash, digesting.data.bytes()).map(Secret)
    }

    pub fn crypting(
        &self,
        session: &Session,
        mechanism: &Mechanism,
        key: CK_OBJECT_HANDLE,
        decrypt: bool,
    ) -> Outcome<Crypting> {
        let object = self.key(session, key)?;
        let encryption = Encryption::of(mechanism, &object.attributes)?;
        let usage = object.attributes.usage;
        let permitted = match object.class {
            Class::PrivateKey => decrypt && usage.decrypt,
            Class::PublicKey => !decrypt && usage.encrypt,
            Class::SecretKey => (decrypt && usage.decrypt) || (!decrypt && usage.encrypt),
            Class::Certificate => false,
        };
        if !permitted {
            return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        Ok(Crypting { object, encryption, data: Default::default() })
    }

    pub fn crypt(&self, crypting: &Crypting, decrypt: bool) -> Outcome<Secret> {
        let (object, name) = (&crypting.object, crypting.object.key_name.as_deref().ok_or(CKR_KEY_HANDLE_INVALID)?);
        let data = crypting.data.bytes();
        let (opcode, body) = match &crypting.encryption {
            Encryption::Rsa { algorithm, label } => {
                let opcode = if decrypt { opcode::PSA_ASYMMETRIC_DECRYPT } else { opcode::PSA_ASYMMETRIC_ENCRYPT };
                (opcode, parsec::asymmetric_crypt(name, *algorithm, data, label))
            }
            Encryption::Gcm { nonce, additional_data } => {
                let opcode = if decrypt { opcode::PSA_AEAD_DECRYPT } else { opcode::PSA_AEAD_ENCRYPT };
                (opcode, parsec::aead(name, nonce, additional_data, data))
            }
        };
        let answer = self.client.ask(opcode, object.provider, &body).map_err(|failure| match (failure, decrypt) {
            (
                Failure::Status(
                    status::PSA_INVALID_ARGUMENT | status::PSA_INVALID_SIGNATURE | status::PSA_INVALID_PADDING,
                ),
                true,
            ) => CKR_ENCRYPTED_DATA_INVALID,
            (failure, _) => refused(failure),
        })?;
        parsec::bytes_of(&answer.0).map(Secret).map_err(|_| CKR_DEVICE_ERROR)
    }

    /// ECDH: the secret becomes an object of the session, which the program may read; PKCS#11 has it no other way.
    pub fn derive(
        &self,
        handle: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        key: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> Outcome<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        let object = self.key(&session, key)?;
        let peer = match (mechanism.kind, &mechanism.parameter) {
            (CKM_ECDH1_DERIVE, Parameter::Ecdh { kdf: CKD_NULL, peer }) => peer,
            (CKM_ECDH1_DERIVE, _) => return Err(CKR_MECHANISM_PARAM_INVALID),
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        if object.class != Class::PrivateKey
            || object.attributes.algorithm != Algorithm::Ecdh
            || !object.attributes.usage.derive
        {
            return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        if is_set(template, CKA_TOKEN)? {
            return Err(CKR_TEMPLATE_INCONSISTENT);
        }
        let name = object.key_name.as_deref().ok_or(CKR_KEY_HANDLE_INVALID)?;
        // The point as it is, or in an OCTET STRING (PKCS#11 v2.40 mechanisms, clause 2.3.8).
        let point = crate::der::octets(peer).unwrap_or(peer);
        let answer =
            self.client.ask(opcode::PSA_RAW_KEY_AGREEMENT, object.provider, &parsec::raw_key_agreement(name, point));
        let mut secret = Secret(parsec::bytes_of(&answer.map_err(refused)?.0).map_err(|_| CKR_DEVICE_ERROR)?);
        if let Some(wanted) = number_of(template, CKA_VALUE_LEN)? {
            if wanted as usize > secret.0.len() || wanted == 0 {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID);
            }
            secret = Secret(secret.0[..wanted as usize].to_vec());
        }
        let label = String::from_utf8_lossy(value_of(template, CKA_LABEL).unwrap_or_default()).into_owned();
        let naming = Naming {
            label,
            id: value_of(template, CKA_ID).unwrap_or_default().to_vec(),
            is_certificate: false,
            slot: None,
        };
        let attributes =
            Attributes { key_type: KeyType::Other, bits: 0, usage: Usage::default(), algorithm: Algorithm::None };
        Ok(locked(&self.objects).add(Object {
            class: Class::SecretKey,
            slot: object.slot,
            provider: object.provider,
            key_name: None,
            naming,
            attributes,
            session: Some(handle),
            material: Mutex::new(Some(Arc::new(secret))),
        }))
    }

    pub fn random(&self, session: &Session, length: usize) -> Outcome<Secret> {
        let mut found = Secret(Vec::with_capacity(length));
        while found.0.len() < length {
            // A TPM gives as many as it has.
            let wanted = (length - found.0.len()).min(1 << 16);
            let body = parsec::generate_random(wanted);
            let answer =
                self.client.ask_as_nobody(opcode::PSA_GENERATE_RANDOM, session.slot, &body).map_err(refused)?;
            let some = Secret(parsec::bytes_of(&answer.0).map_err(|_| CKR_DEVICE_ERROR)?);
            if some.0.is_empty() || some.0.len() > wanted {
                return Err(CKR_DEVICE_ERROR);
            }
            found.0.extend_from_slice(&some.0);
        }
        Ok(found)
    }
}

enum Request<'a> {
    Hash(Algorithm, Cow<'a, [u8]>),
    Message(Algorithm),
    Mac(Algorithm),
}
