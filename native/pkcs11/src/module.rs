//! The module: its slots, sessions and objects, and what each of PKCS#11's functions does with the service.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::client::{locked, Client, Failure};
use crate::mechanism::{self, Asked, Encryption, Mechanism, Parameter, Signature};
use crate::naming::{Naming, SESSION_PREFIX};
use crate::object::{classes, Class, Found, Object};
use crate::parsec::{self, opcode, status, Algorithm, Attributes, Hash, Key, KeyType, Provider, SignHash, Usage};
use crate::pkcs11::*;
use crate::secret::Secret;
use crate::session::{Crypting, Digesting, Operations, Session, Signing};

pub type Outcome<T> = Result<T, CK_RV>;

/// A template as it was handed in: types and values.
pub type Template = [(CK_ATTRIBUTE_TYPE, Vec<u8>)];

struct Slot {
    provider: Provider,
    opcodes: Option<Vec<u32>>,
}

#[derive(Default)]
struct Objects {
    last_handle: CK_OBJECT_HANDLE,
    by_handle: HashMap<CK_OBJECT_HANDLE, Arc<Object>>,
}

impl Objects {
    fn add(&mut self, object: Object) -> CK_OBJECT_HANDLE {
        self.last_handle += 1;
        self.by_handle.insert(self.last_handle, Arc::new(object));
        self.last_handle
    }
}

pub struct Module {
    client: Client,
    slots: Mutex<Vec<Slot>>,
    objects: Mutex<Objects>,
    sessions: Mutex<(CK_SESSION_HANDLE, HashMap<CK_SESSION_HANDLE, Arc<Session>>)>,
    pub is_logged_in: AtomicBool,
}

impl Module {
    pub fn new(effective_user: u32) -> Outcome<Self> {
        Ok(Module {
            client: Client::new(effective_user).map_err(|_| CKR_ARGUMENTS_BAD)?,
            slots: Mutex::default(),
            objects: Mutex::default(),
            sessions: Mutex::default(),
            is_logged_in: AtomicBool::new(false),
        })
    }

    // Slots

    /// The providers in the service's order. A service that is away has none: the programs of a machine load every
    /// module, and must not fail for one.
    pub fn slots(&self) -> Vec<u8> {
        let answer = self.client.ask_as_nobody(opcode::LIST_PROVIDERS, 0, &[]);
        let mut slots = locked(&self.slots);
        if let Ok(Ok(providers)) = answer.map(|body| parsec::providers(&body)) {
            let mut before: Vec<Slot> = slots.drain(..).collect();
            for provider in providers {
                let known = before.iter().position(|slot| slot.provider == provider);
                slots.push(known.map_or(Slot { provider, opcodes: None }, |at| before.swap_remove(at)));
            }
        }
        slots.iter().map(|slot| slot.provider.id).collect()
    }

    pub fn provider(&self, slot: CK_SLOT_ID) -> Outcome<Provider> {
        let find = || {
            let slots = locked(&self.slots);
            slots.iter().find(|one| CK_SLOT_ID::from(one.provider.id) == slot).map(|one| one.provider.clone())
        };
        find()
            .or_else(|| {
                self.slots();
                find()
            })
            .ok_or(CKR_SLOT_ID_INVALID)
    }

    fn opcodes(&self, slot: u8) -> Outcome<Vec<u32>> {
        self.provider(slot.into())?;
        let known = |slots: &mut Vec<Slot>, found: Option<Vec<u32>>| {
            let one = slots.iter_mut().find(|one| one.provider.id == slot)?;
            one.opcodes = found.or_else(|| one.opcodes.take());
            one.opcodes.clone()
        };
        if let Some(found) = known(&mut locked(&self.slots), None) {
            return Ok(found);
        }
        let body = self.client.ask_as_nobody(opcode::LIST_OPCODES, 0, &parsec::list_opcodes(slot)).map_err(refused)?;
        let found = parsec::opcodes(&body).map_err(|_| CKR_DEVICE_ERROR)?;
        known(&mut locked(&self.slots), Some(found)).ok_or(CKR_SLOT_ID_INVALID)
    }

    /// Who hashes: the slot's own provider, or the first that does.
    fn hasher(&self, slot: u8) -> Option<u8> {
        let mut slots: Vec<u8> = locked(&self.slots).iter().map(|one| one.provider.id).collect();
        slots.sort_by_key(|one| *one != slot);
        slots
            .into_iter()
            .find(|one| self.opcodes(*one).map_or(false, |found| found.contains(&opcode::PSA_HASH_COMPUTE)))
    }

    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Outcome<Vec<CK_MECHANISM_TYPE>> {
        let id = self.provider(slot)?.id;
        Ok(mechanism::offered(&self.opcodes(id)?, self.hasher(id).is_some()))
    }

    pub fn mechanism_info(&self, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> Outcome<(CK_ULONG, CK_ULONG, CK_FLAGS)> {
        if !self.mechanisms(slot)?.contains(&kind) {
            return Err(CKR_MECHANISM_INVALID);
        }
        let decrypts = self.opcodes(slot as u8)?.contains(&opcode::PSA_ASYMMETRIC_DECRYPT);
        // By the token, which is the service, and not by this library: that is what the flag tells apart.
        let (least, most, flags) = mechanism::info(kind, decrypts);
        Ok((least, most, flags | CKF_HW))
    }

    // Sessions

    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Outcome<CK_SESSION_HANDLE> {
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        }
        let id = self.provider(slot)?.id;
        let mut sessions = locked(&self.sessions);
        sessions.0 += 1;
        let handle = sessions.0;
        let is_read_write = flags & CKF_RW_SESSION != 0;
        let session = Session { slot: id, is_read_write, operations: Mutex::new(Operations::default()) };
        sessions.1.insert(handle, Arc::new(session));
        Ok(handle)
    }

    pub fn session(&self, handle: CK_SESSION_HANDLE) -> Outcome<Arc<Session>> {
        locked(&self.sessions).1.get(&handle).cloned().ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    pub fn close_session(&self, handle: CK_SESSION_HANDLE) -> Outcome<()> {
        locked(&self.sessions).1.remove(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        let ended: Vec<Arc<Object>> = {
            let mut objects = locked(&self.objects);
            let of_session = |object: &Arc<Object>| object.session == Some(handle);
            let handles: Vec<_> =
                objects.by_handle.iter().filter(|(_, one)| of_session(one)).map(|(at, _)| *at).collect();
            handles.iter().filter_map(|at| objects.by_handle.remove(at)).collect()
        };
        let mut names: Vec<(u8, &str)> =
            ended.iter().filter_map(|one| Some((one.provider, one.key_name.as_deref()?))).collect();
        names.sort_unstable();
        names.dedup();
        for (provider, name) in names {
            // What cannot be destroyed now stays behind; nobody else can use it, and its owner can list it.
            let _ = self.client.ask(opcode::PSA_DESTROY_KEY, provider, &parsec::key_name(name));
        }
        if locked(&self.sessions).1.is_empty() {
            self.is_logged_in.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Of one slot, or of all.
    pub fn close_sessions(&self, slot: Option<CK_SLOT_ID>) {
        let of_slot = |session: &Session| slot.map_or(true, |slot| CK_SLOT_ID::from(session.slot) == slot);
        let handles: Vec<_> =
            locked(&self.sessions).1.iter().filter(|(_, one)| of_slot(one)).map(|(handle, _)| *handle).collect();
        for handle in handles {
            let _ = self.close_session(handle);
        }
    }

    // Objects

    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Outcome<Arc<Object>> {
        locked(&self.objects).by_handle.get(&handle).cloned().ok_or(CKR_OBJECT_HANDLE_INVALID)
    }

    fn key(&self, session: &Session, handle: CK_OBJECT_HANDLE) -> Outcome<Arc<Object>> {
        let object = self.object(handle).map_err(|_| CKR_KEY_HANDLE_INVALID)?;
        Some(object).filter(|one| one.slot == session.slot).ok_or(CKR_KEY_HANDLE_INVALID)
    }

    /// What the service has now. A key keeps its handles as long as it is the same.
    fn refresh(&self) -> Outcome<()> {
        let body = self.client.ask(opcode::LIST_KEYS, 0, &[]).map_err(refused)?;
        let keys = parsec::keys(&body).map_err(|_| CKR_DEVICE_ERROR)?;
        let mut objects = locked(&self.objects);
        let mut before: HashMap<(u8, String, Class), (CK_OBJECT_HANDLE, Attributes)> = HashMap::new();
        objects.by_handle.retain(|handle, object| match &object.key_name {
            Some(name) if object.session.is_none() => {
                before.insert((object.provider, name.clone(), object.class), (*handle, object.attributes));
                false
            }
            _ => true,
        });
        for Key { provider, name, attributes } in keys {
            if name.starts_with(SESSION_PREFIX) {
                continue;
            }
            let naming = Naming::read(&name);
            for class in classes(&attributes, naming.is_certificate) {
                // The material is asked for anew: another key may have come in this one's place.
                let object = token_object(*class, provider, &name, naming.clone(), attributes);
                match before.get(&(provider, name.clone(), *class)) {
                    Some((handle, known)) if *known == attributes => {
                        objects.by_handle.insert(*handle, Arc::new(object));
                    }
                    _ => drop(objects.add(object)),
                }
            }
        }
        Ok(())
    }

    pub fn find(&self, session: &Session, template: &Template) -> Outcome<Vec<CK_OBJECT_HANDLE>> {
        self.refresh()?;
        let candidates: Vec<_> = {
            let objects = locked(&self.objects);
            let mut found: Vec<_> = objects.by_handle.iter().map(|(handle, one)| (*handle, one.clone())).collect();
            found.sort_unstable_by_key(|(handle, _)| *handle);
            found
        };
        let mut found = Vec::new();
        for (handle, object) in candidates {
            if object.slot == session.slot && self.matches(&object, template) {
                found.push(handle);
            }
        }
        Ok(found)
    }

    fn matches(&self, object: &Object, template: &Template) -> bool {
        // What costs no request comes first.
        let (dear, cheap): (Vec<_>, Vec<_>) = template.iter().partition(|(kind, _)| object.needs_material(*kind));
        cheap.iter().chain(&dear).all(|(kind, value)| {
            matches!(self.attribute(object, *kind), Ok(Found::Value(found)) if same(*kind, &found, value))
        })
    }

    pub fn attribute(&self, object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Outcome<Found> {
        if object.needs_material(kind) {
            self.material(object)?;
        }
        Ok(object.attribute(kind))
    }

    fn material(&self, object: &Object) -> Outcome<Arc<Secret>> {
        if let Some(known) = object.known_material() {
            return Ok(known);
        }
        let name = object.key_name.as_deref().ok_or(CKR_OBJECT_HANDLE_INVALID)?;
        let opcode =
            if object.class == Class::Certificate { opcode::PSA_EXPORT_KEY } else { opcode::PSA_EXPORT_PUBLIC_KEY };
        let body = self.client.ask(opcode, object.provider, &parsec::key_name(name)).map_err(refused)?;
        let found = Arc::new(Secret(parsec::bytes_of(&body).map_err(|_| CKR_DEVICE_ERROR)?));
        *locked(&object.material) = Some(found.clone());
        Ok(found)
    }

    pub fn destroy(&self, session: &Session, handle: CK_OBJECT_HANDLE) -> Outcome<()> {
        let object = self.object(handle)?;
        if object.session.is_none() && !session.is_read_write {
            return Err(CKR_SESSION_READ_ONLY);
        }
        if let Some(name) = &object.key_name {
            let destroyed = self.client.ask(opcode::PSA_DESTROY_KEY, object.provider, &parsec::key_name(name));
            match destroyed {
                Ok(_) | Err(Failure::Status(status::PSA_DOES_NOT_EXIST)) => {}
                Err(failure) => return Err(refused(failure)),
            }
        }
        // The two halves of a pair are one key.
        let same = |one: &Arc<Object>| {
            one.key_name.is_some() && (one.provider, &one.key_name) == (object.provider, &object.key_name)
        };
        locked(&self.objects).by_handle.retain(|at, one| *at != handle && !same(one));
        Ok(())
    }

    // Making keys

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
        let usage = usage_for(algorithm, is_set(private, CKA_EXTRACTABLE)? && !is_set(private, CKA_SENSITIVE)?);
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
        let usage = usage_for(algorithm, is_set(template, CKA_EXTRACTABLE)? && !is_set(template, CKA_SENSITIVE)?);
        let handles = self.create(session, template, Attributes { key_type, bits, usage, algorithm }, None)?;
        handles.first().copied().ok_or(CKR_GENERAL_ERROR)
    }

    /// C_CreateObject: public keys, secret keys and certificates.
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
            (CKO_SECRET_KEY, Some(kind @ (CKK_AES | CKK_GENERIC_SECRET))) => {
                let value = needed(CKA_VALUE)?;
                let (key_type, default) = if kind == CKK_AES {
                    (KeyType::Aes, Algorithm::Gcm)
                } else {
                    (KeyType::Hmac, Algorithm::Hmac(Hash::SHA_256))
                };
                let algorithm = mechanism::policy(&mechanisms_of(template)?).unwrap_or(default);
                let usage =
                    usage_for(algorithm, is_set(template, CKA_EXTRACTABLE)? && !is_set(template, CKA_SENSITIVE)?);
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
        let shown = classes(&known_attributes, is_certificate);
        Ok(shown
            .iter()
            .map(|class| {
                let mut object = token_object(*class, provider, &name, naming.clone(), known_attributes);
                object.session = if on_token { None } else { Some(handle) };
                objects.add(object)
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

    // Using keys

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
        let hashed;
        let (opcode, body) = match self.hashed_for(object.slot, asked, signing.data.bytes())? {
            Request::Hash(algorithm, hash) => {
                hashed = hash;
                (opcode::PSA_SIGN_HASH, parsec::sign(name, algorithm, &hashed))
            }
            Request::Message(algorithm) => {
                (opcode::PSA_SIGN_MESSAGE, parsec::sign(name, algorithm, signing.data.bytes()))
            }
            Request::Mac(algorithm) => {
                (opcode::PSA_MAC_COMPUTE, parsec::mac_compute(name, algorithm, signing.data.bytes()))
            }
        };
        let answer = self.client.ask(opcode, object.slot, &body).map_err(refused)?;
        parsec::bytes_of(&answer).map(Secret).map_err(|_| CKR_DEVICE_ERROR)
    }

    pub fn verify(&self, signing: &Signing, signature: &[u8]) -> Outcome<()> {
        let (object, name) = (&signing.object, signing.object.key_name.as_deref().ok_or(CKR_KEY_HANDLE_INVALID)?);
        if object.attributes.bits != 0 && signature.len() != object.output_bytes() {
            return Err(CKR_SIGNATURE_LEN_RANGE);
        }
        let data = signing.data.bytes();
        let asked = signing.signature.asked(&object.attributes, data)?;
        let (opcode, body) = match self.hashed_for(object.slot, asked, data)? {
            Request::Hash(algorithm, hash) => {
                (opcode::PSA_VERIFY_HASH, parsec::verify(name, algorithm, &hash, signature))
            }
            Request::Message(algorithm) => {
                (opcode::PSA_VERIFY_MESSAGE, parsec::verify(name, algorithm, data, signature))
            }
            Request::Mac(algorithm) => (opcode::PSA_MAC_VERIFY, parsec::mac_verify(name, algorithm, data, signature)),
        };
        self.client.ask(opcode, object.slot, &body).map_err(refused).map(drop)
    }

    /// A provider that does not sign messages is given their hash, which the service makes, too.
    fn hashed_for(&self, slot: u8, asked: Asked<'_>, data: &[u8]) -> Outcome<Request> {
        match asked {
            Asked::Hash(algorithm, hash) => Ok(Request::Hash(algorithm, hash.to_vec())),
            Asked::Mac(algorithm) => Ok(Request::Mac(algorithm)),
            Asked::Message(algorithm, _) if self.opcodes(slot)?.contains(&opcode::PSA_SIGN_MESSAGE) => {
                Ok(Request::Message(algorithm))
            }
            Asked::Message(algorithm, hash) => Ok(Request::Hash(algorithm, self.hash(slot, hash, data)?)),
        }
    }

    fn hash(&self, slot: u8, hash: Hash, data: &[u8]) -> Outcome<Vec<u8>> {
        let hasher = self.hasher(slot).ok_or(CKR_MECHANISM_INVALID)?;
        let body = parsec::hash_compute(hash, data);
        let answer = self.client.ask_as_nobody(opcode::PSA_HASH_COMPUTE, hasher, &body).map_err(refused)?;
        parsec::bytes_of(&answer).map_err(|_| CKR_DEVICE_ERROR)
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
        let answer = self.client.ask(opcode, object.slot, &body).map_err(|failure| match (failure, decrypt) {
            (
                Failure::Status(
                    status::PSA_INVALID_ARGUMENT | status::PSA_INVALID_SIGNATURE | status::PSA_INVALID_PADDING,
                ),
                true,
            ) => CKR_ENCRYPTED_DATA_INVALID,
            (failure, _) => refused(failure),
        })?;
        parsec::bytes_of(&answer).map(Secret).map_err(|_| CKR_DEVICE_ERROR)
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
            self.client.ask(opcode::PSA_RAW_KEY_AGREEMENT, object.slot, &parsec::raw_key_agreement(name, point));
        let mut secret = Secret(parsec::bytes_of(&answer.map_err(refused)?).map_err(|_| CKR_DEVICE_ERROR)?);
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
            let some = Secret(parsec::bytes_of(&answer).map_err(|_| CKR_DEVICE_ERROR)?);
            if some.0.is_empty() || some.0.len() > wanted {
                return Err(CKR_DEVICE_ERROR);
            }
            found.0.extend_from_slice(&some.0);
        }
        Ok(found)
    }
}

enum Request {
    Hash(Algorithm, Vec<u8>),
    Message(Algorithm),
    Mac(Algorithm),
}

fn token_object(class: Class, provider: u8, name: &str, naming: Naming, attributes: Attributes) -> Object {
    let slot = naming.slot.unwrap_or(provider);
    let key_name = Some(name.to_owned());
    Object { class, slot, provider, key_name, naming, attributes, session: None, material: Mutex::new(None) }
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

/// What no two keys have.
fn unique() -> Outcome<String> {
    let mut chance = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut chance));
    read.map_err(|_| CKR_FUNCTION_FAILED)?;
    Ok(chance.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Big numbers are the same with leading zeros.
fn same(kind: CK_ATTRIBUTE_TYPE, found: &[u8], wanted: &[u8]) -> bool {
    let digits = |number: &[u8]| number.iter().skip_while(|digit| **digit == 0).copied().collect::<Vec<u8>>();
    match kind {
        CKA_MODULUS | CKA_PUBLIC_EXPONENT => digits(found) == digits(wanted),
        _ => found == wanted,
    }
}

fn value_of(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    template.iter().find(|(found, value)| *found == kind && !value.is_empty()).map(|(_, value)| value.as_slice())
}

fn is_set(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Outcome<bool> {
    match value_of(template, kind) {
        None => Ok(false),
        Some([flag]) => Ok(*flag != 0),
        Some(_) => Err(CKR_ATTRIBUTE_VALUE_INVALID),
    }
}

fn number_of(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Outcome<Option<CK_ULONG>> {
    value_of(template, kind)
        .map(|value| value.try_into().map(CK_ULONG::from_ne_bytes).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID))
        .transpose()
}

fn mechanisms_of(template: &Template) -> Outcome<Vec<CK_MECHANISM_TYPE>> {
    let value = value_of(template, CKA_ALLOWED_MECHANISMS).unwrap_or_default();
    value
        .chunks(std::mem::size_of::<CK_MECHANISM_TYPE>())
        .map(|one| one.try_into().map(CK_MECHANISM_TYPE::from_ne_bytes).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID))
        .collect()
}

fn not_made(failure: Failure) -> CK_RV {
    match failure {
        Failure::Status(status::PSA_NOT_SUPPORTED | status::PSA_INVALID_ARGUMENT) => CKR_TEMPLATE_INCONSISTENT,
        Failure::Status(status::PSA_ALREADY_EXISTS) => CKR_ATTRIBUTE_VALUE_INVALID,
        _ => refused(failure),
    }
}

/// What the service did not do, in PKCS#11's words.
fn refused(failure: Failure) -> CK_RV {
    match failure {
        Failure::Away => CKR_DEVICE_ERROR,
        Failure::Status(status) => match status {
            status::AUTHENTICATION_ERROR => CKR_USER_NOT_LOGGED_IN,
            status::PSA_NOT_PERMITTED => CKR_KEY_FUNCTION_NOT_PERMITTED,
            status::PSA_NOT_SUPPORTED => CKR_MECHANISM_INVALID,
            status::PSA_INVALID_ARGUMENT => CKR_DATA_INVALID,
            status::PSA_DOES_NOT_EXIST => CKR_KEY_HANDLE_INVALID,
            status::PSA_INSUFFICIENT_MEMORY | status::PSA_INSUFFICIENT_STORAGE => CKR_DEVICE_MEMORY,
            status::PSA_INVALID_SIGNATURE => CKR_SIGNATURE_INVALID,
            status::PSA_INVALID_PADDING => CKR_ENCRYPTED_DATA_INVALID,
            _ => CKR_DEVICE_ERROR,
        },
    }
}
