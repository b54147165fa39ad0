//! A session and the operations that are under way in it (PKCS#11 v2.40 base, clause 5.6).

use std::sync::Arc;

use crate::mechanism::{Encryption, Signature};
use crate::object::Object;
use crate::parsec::Hash;
use crate::pkcs11::*;
use crate::secret::Secret;

/// What a request may hold, below the service's default limit for bodies of 1 MiB.
const INPUT_MAX_BYTES: usize = (1 << 20) - 4096;

pub struct Signing {
    pub object: Arc<Object>,
    pub signature: Signature,
    pub data: Input,
}

pub struct Crypting {
    pub object: Arc<Object>,
    pub encryption: Encryption,
    pub data: Input,
}

impl Crypting {
    /// Of a text of this length: RSA's are as long as the modulus, GCM's longer by the tag.
    pub fn encrypted_bytes(&self, text_bytes: usize) -> usize {
        match self.encryption {
            Encryption::Rsa { .. } => self.object.output_bytes(),
            Encryption::Gcm { .. } => text_bytes + 16,
        }
    }
}

pub struct Digesting {
    pub hash: Hash,
    pub data: Input,
}

/// What a program has handed in so far, and what came of it, if the program had no room for that.
pub struct Input {
    bytes: Secret,
    pub result: Option<Secret>,
}

impl Default for Input {
    fn default() -> Self {
        Input { bytes: Secret(Vec::new()), result: None }
    }
}

impl Input {
    pub fn add(&mut self, part: &[u8]) -> Result<(), CK_RV> {
        if self.bytes.0.len() + part.len() > INPUT_MAX_BYTES {
            return Err(CKR_DATA_LEN_RANGE);
        }
        self.bytes.0.extend_from_slice(part);
        Ok(())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.0.is_empty()
    }
}

#[derive(Default)]
pub struct Operations {
    pub found: Option<Vec<CK_OBJECT_HANDLE>>,
    pub sign: Option<Signing>,
    pub verify: Option<Signing>,
    pub encrypt: Option<Crypting>,
    pub decrypt: Option<Crypting>,
    pub digest: Option<Digesting>,
}

pub struct Session {
    pub slot: u8,
    pub is_read_write: bool,
    pub operations: std::sync::Mutex<Operations>,
}

/// An operation that takes data.
pub trait Running {
    fn data(&mut self) -> &mut Input;
}

macro_rules! running {
    ($($name:ident),*) => {
        $(impl Running for $name {
            fn data(&mut self) -> &mut Input {
                &mut self.data
            }
        })*
    };
}

running!(Signing, Crypting, Digesting);
