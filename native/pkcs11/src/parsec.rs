//! Parsec's operations, as far as this module asks for them: bodies out, answers in (Parsec book, "Operations").

use crate::proto::{field, fields, numbers, Malformed, Message};

pub mod opcode {
    pub const PSA_GENERATE_KEY: u32 = 0x02;
    pub const PSA_DESTROY_KEY: u32 = 0x03;
    pub const PSA_SIGN_HASH: u32 = 0x04;
    pub const PSA_VERIFY_HASH: u32 = 0x05;
    pub const PSA_IMPORT_KEY: u32 = 0x06;
    pub const PSA_EXPORT_PUBLIC_KEY: u32 = 0x07;
    pub const LIST_PROVIDERS: u32 = 0x08;
    pub const LIST_OPCODES: u32 = 0x09;
    pub const PSA_ASYMMETRIC_ENCRYPT: u32 = 0x0a;
    pub const PSA_ASYMMETRIC_DECRYPT: u32 = 0x0b;
    pub const PSA_EXPORT_KEY: u32 = 0x0c;
    pub const PSA_GENERATE_RANDOM: u32 = 0x0d;
    pub const LIST_AUTHENTICATORS: u32 = 0x0e;
    pub const PSA_HASH_COMPUTE: u32 = 0x0f;
    pub const PSA_AEAD_ENCRYPT: u32 = 0x11;
    pub const PSA_AEAD_DECRYPT: u32 = 0x12;
    pub const PSA_RAW_KEY_AGREEMENT: u32 = 0x13;
    pub const PSA_MAC_COMPUTE: u32 = 0x16;
    pub const PSA_MAC_VERIFY: u32 = 0x17;
    pub const PSA_SIGN_MESSAGE: u32 = 0x18;
    pub const PSA_VERIFY_MESSAGE: u32 = 0x19;
    pub const LIST_KEYS: u32 = 0x1a;
}

pub mod status {
    pub const SUCCESS: u16 = 0;
    pub const AUTHENTICATION_ERROR: u16 = 11;
    pub const PSA_GENERIC_ERROR: u16 = 1132;
    pub const PSA_NOT_PERMITTED: u16 = 1133;
    pub const PSA_NOT_SUPPORTED: u16 = 1134;
    pub const PSA_INVALID_ARGUMENT: u16 = 1135;
    pub const PSA_BUFFER_TOO_SMALL: u16 = 1138;
    pub const PSA_ALREADY_EXISTS: u16 = 1139;
    pub const PSA_DOES_NOT_EXIST: u16 = 1140;
    pub const PSA_INSUFFICIENT_MEMORY: u16 = 1141;
    pub const PSA_INSUFFICIENT_STORAGE: u16 = 1142;
    pub const PSA_INVALID_SIGNATURE: u16 = 1149;
    pub const PSA_INVALID_PADDING: u16 = 1150;
}

/// A hash, by its number in Parsec's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Hash {
    pub const SHA_1: Hash = Hash(5);
    pub const SHA_224: Hash = Hash(6);
    pub const SHA_256: Hash = Hash(7);
    pub const SHA_384: Hash = Hash(8);
    pub const SHA_512: Hash = Hash(9);

    pub fn bytes(self) -> usize {
        match self.0 {
            5 => 20,
            6 => 28,
            8 => 48,
            9 => 64,
            _ => 32,
        }
    }

    pub fn of_length(bytes: usize) -> Option<Hash> {
        [Hash::SHA_1, Hash::SHA_224, Hash::SHA_256, Hash::SHA_384, Hash::SHA_512]
            .iter()
            .copied()
            .find(|hash| hash.bytes() == bytes)
    }
}

/// In a policy; `Any` leaves the choice to each signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignHash {
    Any,
    Specific(Hash),
}

impl SignHash {
    pub fn allows(self, hash: Hash) -> bool {
        self == SignHash::Any || self == SignHash::Specific(hash)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    None,
    Hmac(Hash),
    Gcm,
    RsaPkcs1v15Sign(SignHash),
    RsaPkcs1v15SignRaw,
    RsaPss(SignHash),
    /// Deterministic (RFC 6979) or not: a signature of one is as good as one of the other.
    Ecdsa(SignHash, bool),
    EcdsaAny,
    RsaPkcs1v15Crypt,
    RsaOaep(Hash),
    Ecdh,
    /// What this module does not use. The key is shown all the same.
    Other,
}

const RAW_ECDH: u64 = 2;
const GCM: u64 = 2;

impl Algorithm {
    fn message(self) -> Message {
        let signature = |one: Message| Message::new().message(6, one);
        match self {
            Algorithm::None | Algorithm::Other => Message::new().message(1, Message::new()),
            Algorithm::Hmac(_) => Message::new().message(3, self.mac()),
            Algorithm::Gcm => Message::new().message(5, self.aead()),
            Algorithm::RsaPkcs1v15Crypt | Algorithm::RsaOaep(_) => Message::new().message(7, self.encryption()),
            Algorithm::Ecdh => Message::new().message(8, Message::new().number(1, RAW_ECDH)),
            _ => signature(self.signature()),
        }
    }

    /// psa_algorithm.Algorithm.AsymmetricSignature
    fn signature(self) -> Message {
        let sign_hash = |hash: SignHash| {
            let choice = match hash {
                SignHash::Any => Message::new().message(1, Message::new()),
                SignHash::Specific(hash) => Message::new().number(2, hash.0),
            };
            Message::new().message(1, choice)
        };
        match self {
            Algorithm::RsaPkcs1v15Sign(hash) => Message::new().message(1, sign_hash(hash)),
            Algorithm::RsaPkcs1v15SignRaw => Message::new().message(2, Message::new()),
            Algorithm::RsaPss(hash) => Message::new().message(3, sign_hash(hash)),
            Algorithm::Ecdsa(hash, false) => Message::new().message(4, sign_hash(hash)),
            Algorithm::Ecdsa(hash, true) => Message::new().message(6, sign_hash(hash)),
            _ => Message::new().message(5, Message::new()),
        }
    }

    /// psa_algorithm.Algorithm.AsymmetricEncryption
    fn encryption(self) -> Message {
        match self {
            Algorithm::RsaOaep(hash) => Message::new().message(2, Message::new().number(1, hash.0)),
            _ => Message::new().message(1, Message::new()),
        }
    }

    /// psa_algorithm.Algorithm.Mac
    fn mac(self) -> Message {
        let hash = if let Algorithm::Hmac(hash) = self { hash.0 } else { 0 };
        Message::new().message(1, Message::new().message(1, Message::new().number(1, hash)))
    }

    /// psa_algorithm.Algorithm.Aead
    fn aead(self) -> Message {
        Message::new().number(1, GCM)
    }

    fn read(message: &[u8]) -> Result<Algorithm, Malformed> {
        let (kind, value) = *fields(message)?.last().ok_or(Malformed)?;
        match kind {
            1 => Ok(Algorithm::None),
            3 => Algorithm::read_mac(value.bytes()?),
            5 => match fields(value.bytes()?)?.last() {
                Some((1, one)) if one.number() == Ok(GCM) => Ok(Algorithm::Gcm),
                _ => Ok(Algorithm::Other),
            },
            6 => Algorithm::read_signature(value.bytes()?),
            7 => match fields(value.bytes()?)?.last() {
                Some((1, _)) => Ok(Algorithm::RsaPkcs1v15Crypt),
                Some((2, one)) => Ok(Algorithm::RsaOaep(read_hash(one.bytes()?, 1)?)),
                _ => Ok(Algorithm::Other),
            },
            8 => match fields(value.bytes()?)?.last() {
                Some((1, one)) if one.number() == Ok(RAW_ECDH) => Ok(Algorithm::Ecdh),
                _ => Ok(Algorithm::Other),
            },
            _ => Ok(Algorithm::Other),
        }
    }

    fn read_signature(message: &[u8]) -> Result<Algorithm, Malformed> {
        let (kind, value) = *fields(message)?.last().ok_or(Malformed)?;
        let inner = value.bytes()?;
        let sign_hash = || -> Result<SignHash, Malformed> {
            let outer = fields(inner)?;
            let choice = fields(field(&outer, 1).ok_or(Malformed)?.bytes()?)?;
            match choice.last() {
                Some((1, _)) => Ok(SignHash::Any),
                Some((2, hash)) => Ok(SignHash::Specific(Hash(hash.number()?))),
                _ => Err(Malformed),
            }
        };
        Ok(match kind {
            1 => Algorithm::RsaPkcs1v15Sign(sign_hash()?),
            2 => Algorithm::RsaPkcs1v15SignRaw,
            3 => Algorithm::RsaPss(sign_hash()?),
            4 => Algorithm::Ecdsa(sign_hash()?, false),
            5 => Algorithm::EcdsaAny,
            6 => Algorithm::Ecdsa(sign_hash()?, true),
            _ => Algorithm::Other,
        })
    }

    fn read_mac(message: &[u8]) -> Result<Algorithm, Malformed> {
        let outer = fields(message)?;
        let full = match field(&outer, 1) {
            Some(full) => fields(full.bytes()?)?,
            None => return Ok(Algorithm::Other),
        };
        match field(&full, 1) {
            Some(hmac) => Ok(Algorithm::Hmac(read_hash(hmac.bytes()?, 1)?)),
            None => Ok(Algorithm::Other),
        }
    }
}

fn read_hash(message: &[u8], number: u32) -> Result<Hash, Malformed> {
    let inner = fields(message)?;
    field(&inner, number).map_or(Ok(Hash(0)), |hash| hash.number().map(Hash))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    RawData,
    Hmac,
    Aes,
    RsaPublicKey,
    RsaKeyPair,
    EccKeyPair(u64),
    EccPublicKey(u64),
    Other,
}

pub const SECP_K1: u64 = 1;
pub const SECP_R1: u64 = 2;
pub const BRAINPOOL_P_R1: u64 = 7;
pub const MONTGOMERY: u64 = 9;

impl KeyType {
    fn message(self) -> Message {
        let (number, inner) = match self {
            KeyType::RawData | KeyType::Other => (1, Message::new()),
            KeyType::Hmac => (2, Message::new()),
            KeyType::Aes => (4, Message::new()),
            KeyType::RsaPublicKey => (9, Message::new()),
            KeyType::RsaKeyPair => (10, Message::new()),
            KeyType::EccKeyPair(family) => (11, Message::new().number(1, family)),
            KeyType::EccPublicKey(family) => (12, Message::new().number(1, family)),
        };
        Message::new().message(number, inner)
    }

    fn read(message: &[u8]) -> Result<KeyType, Malformed> {
        let (number, value) = *fields(message)?.last().ok_or(Malformed)?;
        let family = || -> Result<u64, Malformed> {
            let inner = fields(value.bytes()?)?;
            field(&inner, 1).map_or(Ok(0), |one| one.number())
        };
        Ok(match number {
            1 => KeyType::RawData,
            2 => KeyType::Hmac,
            4 => KeyType::Aes,
            9 => KeyType::RsaPublicKey,
            10 => KeyType::RsaKeyPair,
            11 => KeyType::EccKeyPair(family()?),
            12 => KeyType::EccPublicKey(family()?),
            _ => KeyType::Other,
        })
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub export: bool,
    pub encrypt: bool,
    pub decrypt: bool,
    pub sign_message: bool,
    pub verify_message: bool,
    pub sign_hash: bool,
    pub verify_hash: bool,
    pub derive: bool,
}

impl Usage {
    fn message(self) -> Message {
        Message::new()
            .number(1, self.export.into())
            .number(4, self.encrypt.into())
            .number(5, self.decrypt.into())
            .number(6, self.sign_message.into())
            .number(7, self.verify_message.into())
            .number(8, self.sign_hash.into())
            .number(9, self.verify_hash.into())
            .number(10, self.derive.into())
    }

    fn read(message: &[u8]) -> Result<Usage, Malformed> {
        let flags = fields(message)?;
        let is_set = |number| field(&flags, number).map_or(Ok(false), |flag| flag.number().map(|value| value != 0));
        Ok(Usage {
            export: is_set(1)?,
            encrypt: is_set(4)?,
            decrypt: is_set(5)?,
            sign_message: is_set(6)?,
            verify_message: is_set(7)?,
            sign_hash: is_set(8)?,
            verify_hash: is_set(9)?,
            derive: is_set(10)?,
        })
    }
}

/// psa_key_attributes.KeyAttributes
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub key_type: KeyType,
    pub bits: u32,
    pub usage: Usage,
    pub algorithm: Algorithm,
}

impl Attributes {
    fn message(self) -> Message {
        let policy = Message::new().message(1, self.usage.message()).message(2, self.algorithm.message());
        Message::new().message(1, self.key_type.message()).number(2, self.bits.into()).message(3, policy)
    }

    fn read(message: &[u8]) -> Result<Attributes, Malformed> {
        let whole = fields(message)?;
        let part = |number| field(&whole, number).ok_or(Malformed).and_then(|value| value.bytes());
        let policy = fields(part(3)?)?;
        let of_policy = |number| field(&policy, number).ok_or(Malformed).and_then(|value| value.bytes());
        let bits = field(&whole, 2).map_or(Ok(0), |value| value.number())?;
        Ok(Attributes {
            key_type: KeyType::read(part(1)?)?,
            bits: u32::try_from(bits).map_err(|_| Malformed)?,
            usage: Usage::read(of_policy(1)?)?,
            algorithm: Algorithm::read(of_policy(2)?)?,
        })
    }
}

/// One row of ListProviders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub id: u8,
    pub uuid: String,
    pub description: String,
    pub vendor: String,
    pub version: (u8, u8),
    /// As it is configured, where the service says so.
    pub name: String,
}

/// One row of ListKeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub provider: u8,
    pub name: String,
    pub attributes: Attributes,
}

// Bodies of requests

pub fn list_opcodes(provider: u8) -> Vec<u8> {
    Message::new().number(1, provider.into()).finish()
}

pub fn generate_key(name: &str, attributes: Attributes) -> Vec<u8> {
    Message::new().bytes(1, name.as_bytes()).message(2, attributes.message()).finish()
}

pub fn import_key(name: &str, attributes: Attributes, data: &[u8]) -> Vec<u8> {
    Message::new().bytes(1, name.as_bytes()).message(2, attributes.message()).bytes(3, data).finish()
}

/// Of what names a key and nothing else: destroy, export, export of the public key.
pub fn key_name(name: &str) -> Vec<u8> {
    Message::new().bytes(1, name.as_bytes()).finish()
}

/// `data` is a hash or a message, by the operation.
pub fn sign(name: &str, algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
    Message::new().bytes(1, name.as_bytes()).message(2, algorithm.signature()).bytes(3, data).finish()
}

pub fn verify(name: &str, algorithm: Algorithm, data: &[u8], signature: &[u8]) -> Vec<u8> {
    let signed = Message::new().bytes(1, name.as_bytes()).message(2, algorithm.signature()).bytes(3, data);
    signed.bytes(4, signature).finish()
}

/// Encrypt or decrypt. `label` is OAEP's.
pub fn asymmetric_crypt(name: &str, algorithm: Algorithm, text: &[u8], label: &[u8]) -> Vec<u8> {
    let whole = Message::new().bytes(1, name.as_bytes()).message(2, algorithm.encryption()).bytes(3, text);
    whole.bytes(4, label).finish()
}

pub fn aead(name: &str, nonce: &[u8], additional_data: &[u8], text: &[u8]) -> Vec<u8> {
    let head = Message::new().bytes(1, name.as_bytes()).message(2, Algorithm::Gcm.aead()).bytes(3, nonce);
    head.bytes(4, additional_data).bytes(5, text).finish()
}

pub fn mac_compute(name: &str, algorithm: Algorithm, input: &[u8]) -> Vec<u8> {
    Message::new().bytes(1, name.as_bytes()).message(2, algorithm.mac()).bytes(3, input).finish()
}

pub fn mac_verify(name: &str, algorithm: Algorithm, input: &[u8], mac: &[u8]) -> Vec<u8> {
    let whole = Message::new().bytes(1, name.as_bytes()).message(2, algorithm.mac()).bytes(3, input);
    whole.bytes(4, mac).finish()
}

pub fn raw_key_agreement(name: &str, peer_key: &[u8]) -> Vec<u8> {
    Message::new().number(1, RAW_ECDH).bytes(2, name.as_bytes()).bytes(3, peer_key).finish()
}

pub fn generate_random(size: usize) -> Vec<u8> {
    Message::new().number(1, size as u64).finish()
}

pub fn hash_compute(hash: Hash, input: &[u8]) -> Vec<u8> {
    Message::new().number(1, hash.0).bytes(2, input).finish()
}

// Answers

/// The one field of bytes that most results have.
pub fn bytes_of(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let read = fields(body)?;
    field(&read, 1).map_or(Ok(Vec::new()), |value| value.bytes().map(<[u8]>::to_vec))
}

/// Without the core provider, which has no keys. The service's order.
pub fn providers(body: &[u8]) -> Result<Vec<Provider>, Malformed> {
    let mut found = Vec::new();
    for row in rows(body)? {
        let read = fields(row)?;
        let text = |number| field(&read, number).map_or(Ok(String::new()), |value| value.text());
        let number = |number| field(&read, number).map_or(Ok(0), |value| value.number());
        let id = u8::try_from(number(7)?).map_err(|_| Malformed)?;
        if id != 0 {
            found.push(Provider {
                id,
                uuid: text(1)?,
                description: text(2)?,
                vendor: text(3)?,
                version: (number(4)?.min(255) as u8, number(5)?.min(255) as u8),
                name: text(1000)?,
            });
        }
    }
    Ok(found)
}

pub fn opcodes(body: &[u8]) -> Result<Vec<u32>, Malformed> {
    let found = numbers(&fields(body)?, 1)?;
    Ok(found.into_iter().filter_map(|opcode| u32::try_from(opcode).ok()).collect())
}

/// The authenticators' numbers, in the service's order.
pub fn authenticators(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut found = Vec::new();
    for row in rows(body)? {
        let read = fields(row)?;
        let id = field(&read, 5).map_or(Ok(0), |value| value.number())?;
        found.push(u8::try_from(id).map_err(|_| Malformed)?);
    }
    Ok(found)
}

pub fn keys(body: &[u8]) -> Result<Vec<Key>, Malformed> {
    let mut found = Vec::new();
    for row in rows(body)? {
        let read = fields(row)?;
        let provider = field(&read, 1).map_or(Ok(0), |value| value.number())?;
        found.push(Key {
            provider: u8::try_from(provider).map_err(|_| Malformed)?,
            name: field(&read, 2).ok_or(Malformed)?.text()?,
            attributes: Attributes::read(field(&read, 3).ok_or(Malformed)?.bytes()?)?,
        });
    }
    Ok(found)
}

fn rows(body: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    fields(body)?.into_iter().filter(|(number, _)| *number == 1).map(|(_, value)| value.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Attributes = Attributes {
        key_type: KeyType::EccKeyPair(SECP_R1),
        bits: 256,
        usage: Usage {
            export: false,
            encrypt: false,
            decrypt: false,
            sign_message: true,
            verify_message: true,
            sign_hash: true,
            verify_hash: true,
            derive: false,
        },
        algorithm: Algorithm::Ecdsa(SignHash::Specific(Hash::SHA_256), false),
    };

    fn listed(attributes: Attributes) -> Vec<u8> {
        let row = Message::new().number(1, 4).bytes(2, b"device").message(3, attributes.message());
        Message::new().message(1, row).finish()
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let algorithms = [
            Algorithm::None,
            Algorithm::Hmac(Hash::SHA_256),
            Algorithm::Gcm,
            Algorithm::RsaPkcs1v15Sign(SignHash::Any),
            Algorithm::RsaPkcs1v15SignRaw,
            Algorithm::RsaPss(SignHash::Specific(Hash::SHA_384)),
            Algorithm::Ecdsa(SignHash::Any, true),
            Algorithm::EcdsaAny,
            Algorithm::RsaPkcs1v15Crypt,
            Algorithm::RsaOaep(Hash::SHA_256),
            Algorithm::Ecdh,
        ];
        for algorithm in algorithms {
            let attributes = Attributes { algorithm, ..DEVICE };
            let read = keys(&listed(attributes)).unwrap();
            assert_eq!(read, [Key { provider: 4, name: "device".into(), attributes }]);
        }
    }

    #[test]
    fn no_cut_of_an_answer_is_read_as_a_whole() {
        let whole = listed(DEVICE);
        for end in 1..whole.len() {
            assert!(keys(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn whatever_an_answer_holds_is_read_or_refused() {
        // A generator of xorshift: the same changes in every run.
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let whole = listed(DEVICE);
        let mut refused = 0;
        for _ in 0..200_000 {
            let mut changed = whole.clone();
            for _ in 0..=next() % 3 {
                let at = next() as usize % changed.len();
                changed[at] = next() as u8;
            }
            let read = [keys(&changed).is_err(), providers(&changed).is_err(), authenticators(&changed).is_err()];
            refused += usize::from(read[0]);
            let _ = (opcodes(&changed).is_err(), bytes_of(&changed).is_err());
        }
        assert!(refused > 10_000);
    }

    #[test]
    fn a_signature_is_asked_for_as_the_contract_says() {
        let body = sign("k", Algorithm::Ecdsa(SignHash::Specific(Hash::SHA_256), false), b"\x01");
        assert_eq!(body, [0x0a, 1, b'k', 0x12, 6, 0x22, 4, 0x0a, 2, 0x10, 7, 0x1a, 1, 1]);
    }
}
