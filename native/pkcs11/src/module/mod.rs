//! The module: its slots, sessions and objects, and what each of PKCS#11's functions does with the service.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use self::templates::{same, Template};
use crate::client::{locked, Client, Failure};
use crate::mechanism;
use crate::naming::{Naming, SESSION_PREFIX};
use crate::object::{classes, Class, Found, Object};
use crate::parsec::{self, opcode, status, Attributes, Key, Provider};
use crate::pkcs11::*;
use crate::secret::Secret;
use crate::session::{Operations, Session};

mod making;
mod templates;
mod using;

pub type Outcome<T> = Result<T, CK_RV>;

struct Slot {
    provider: Provider,
    opcodes: Option<Vec<u32>>,
}

#[derive(Default)]
struct Objects {
    /// How often this process has made or destroyed a key: a list that was asked for before does not know of it.
    changes: u64,
    last_handle: CK_OBJECT_HANDLE,
    by_handle: HashMap<CK_OBJECT_HANDLE, Arc<Object>>,
}

impl Objects {
    fn add(&mut self, object: Object) -> CK_OBJECT_HANDLE {
        self.last_handle += 1;
        self.by_handle.insert(self.last_handle, Arc::new(object));
        self.last_handle
    }

    /// A key that was made just now: another thread's list may have shown it already, or one that had its name before.
    fn add_made(&mut self, object: Object) -> CK_OBJECT_HANDLE {
        let known = self.by_handle.iter().find(|(_, one)| {
            (one.provider, &one.key_name, one.class) == (object.provider, &object.key_name, object.class)
        });
        match known.map(|(handle, one)| (*handle, one.attributes == object.attributes)) {
            Some((handle, true)) => {
                self.by_handle.insert(handle, Arc::new(object));
                return handle;
            }
            Some((handle, false)) => drop(self.by_handle.remove(&handle)),
            None => {}
        }
        self.add(object)
    }
}

pub struct Module {
    client: Client,
    slots: Mutex<Vec<Slot>>,
    objects: Mutex<Objects>,
    /// One list at a time, so that none is followed by an older one.
    listing: Mutex<()>,
    sessions: Mutex<(CK_SESSION_HANDLE, HashMap<CK_SESSION_HANDLE, Arc<Session>>)>,
    pub is_logged_in: AtomicBool,
}

impl Module {
    pub fn new(effective_user: u32) -> Outcome<Self> {
        Ok(Module {
            client: Client::new(effective_user).map_err(|_| CKR_ARGUMENTS_BAD)?,
            slots: Mutex::default(),
            objects: Mutex::default(),
            listing: Mutex::default(),
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
        if let Ok(Ok(providers)) = answer.map(|body| parsec::providers(&body.0)) {
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

    /// Whether a provider has an operation; asked in each use of a key, so nothing is copied.
    fn offers(&self, slot: u8, opcode: u32) -> Outcome<bool> {
        let known = {
            let slots = locked(&self.slots);
            let found = slots.iter().find(|one| one.provider.id == slot).and_then(|one| one.opcodes.as_ref());
            found.map(|opcodes| opcodes.contains(&opcode))
        };
        known.map_or_else(|| Ok(self.opcodes(slot)?.contains(&opcode)), Ok)
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
        let found = parsec::opcodes(&body.0).map_err(|_| CKR_DEVICE_ERROR)?;
        known(&mut locked(&self.slots), Some(found)).ok_or(CKR_SLOT_ID_INVALID)
    }

    /// Who hashes: the slot's own provider, or the first that does.
    fn hasher(&self, slot: u8) -> Option<u8> {
        let mut slots: Vec<u8> = locked(&self.slots).iter().map(|one| one.provider.id).collect();
        slots.sort_by_key(|one| *one != slot);
        slots.into_iter().find(|one| self.offers(*one, opcode::PSA_HASH_COMPUTE).unwrap_or(false))
    }

    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Outcome<Vec<CK_MECHANISM_TYPE>> {
        let id = self.provider(slot)?.id;
        Ok(mechanism::offered(&self.opcodes(id)?, self.hasher(id).is_some()))
    }

    pub fn mechanism_info(&self, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> Outcome<(CK_ULONG, CK_ULONG, CK_FLAGS)> {
        if !self.mechanisms(slot)?.contains(&kind) {
            return Err(CKR_MECHANISM_INVALID);
        }
        let decrypts = self.offers(slot as u8, opcode::PSA_ASYMMETRIC_DECRYPT)?;
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
        let _one_at_a_time = locked(&self.listing);
        let (keys, mut objects) = loop {
            let before = locked(&self.objects).changes;
            let body = self.client.ask(opcode::LIST_KEYS, 0, &[]).map_err(refused)?;
            let keys = parsec::keys(&body.0).map_err(|_| CKR_DEVICE_ERROR)?;
            let objects = locked(&self.objects);
            if objects.changes == before {
                break (keys, objects);
            }
        };
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
        let found = Arc::new(Secret(parsec::bytes_of(&body.0).map_err(|_| CKR_DEVICE_ERROR)?));
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
        let mut objects = locked(&self.objects);
        objects.changes += 1;
        objects.by_handle.retain(|at, one| *at != handle && !same(one));
        Ok(())
    }
}

fn token_object(class: Class, provider: u8, name: &str, naming: Naming, attributes: Attributes) -> Object {
    let slot = naming.slot.unwrap_or(provider);
    let key_name = Some(name.to_owned());
    Object { class, slot, provider, key_name, naming, attributes, session: None, material: Mutex::new(None) }
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
