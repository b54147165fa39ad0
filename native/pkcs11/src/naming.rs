//! Labels and identifiers of objects in the names of keys.
//!
//! A key's name is its object's CKA_LABEL, and in UTF-8 its CKA_ID. Where a program wants another id, or makes a
//! certificate, the name says so in the path attributes of a PKCS#11 URI (RFC 7512, clause 2.3): `pkcs11:id=%01;object=a`.

const SCHEME: &str = "pkcs11:";
/// Of keys that live as long as a session; others do not see them.
pub const SESSION_PREFIX: &str = "pkcs11:type=session;";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    pub label: String,
    pub id: Vec<u8>,
    pub is_certificate: bool,
    /// Where it is shown, if that is not where it is kept.
    pub slot: Option<u8>,
}

impl Naming {
    pub fn read(name: &str) -> Naming {
        Naming::parsed(name).unwrap_or_else(|| Naming {
            label: name.to_owned(),
            id: name.as_bytes().to_vec(),
            is_certificate: false,
            slot: None,
        })
    }

    fn parsed(name: &str) -> Option<Naming> {
        let mut found = Naming { label: String::new(), id: Vec::new(), is_certificate: false, slot: None };
        for attribute in name.strip_prefix(SCHEME)?.split(';') {
            let (key, value) = attribute.split_once('=')?;
            match key {
                "object" => found.label = String::from_utf8(percent_decoded(value)?).ok()?,
                "id" => found.id = percent_decoded(value)?,
                "type" if value == "cert" => found.is_certificate = true,
                "slot-id" => found.slot = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        if !name.split([':', ';']).any(|attribute| attribute.starts_with("id=")) {
            found.id = found.label.clone().into_bytes();
        }
        Some(found)
    }

    /// The name that is read as this one.
    pub fn name(&self) -> String {
        let id = self.label.clone().into_bytes();
        let plain = Naming { label: self.label.clone(), id, is_certificate: false, slot: None };
        if *self == plain && !self.label.is_empty() && !self.label.starts_with(SCHEME) {
            return self.label.clone();
        }
        let mut parts = Vec::new();
        if self.is_certificate {
            parts.push("type=cert".to_owned());
        }
        if let Some(slot) = self.slot {
            parts.push(format!("slot-id={slot}"));
        }
        if self.id != self.label.as_bytes() || self.label.is_empty() {
            parts.push(format!("id={}", percent_encoded(&self.id)));
        }
        if !self.label.is_empty() {
            parts.push(format!("object={}", percent_encoded(self.label.as_bytes())));
        }
        format!("{SCHEME}{}", parts.join(";"))
    }
}

/// None if a `%` is not followed by two digits.
pub fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|one| char::from(one).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push((high * 16 + low) as u8);
    }
    Some(decoded)
}

fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(label: &str, id: &[u8], is_certificate: bool) -> Naming {
        Naming { label: label.into(), id: id.to_vec(), is_certificate, slot: None }
    }

    #[test]
    fn every_naming_is_read_back() {
        let names = [
            (naming("device", b"device", false), "device"),
            (naming("device", &[1], false), "pkcs11:id=%01;object=device"),
            (naming("", &[1, 0xff], false), "pkcs11:id=%01%FF"),
            (naming("device", b"device", true), "pkcs11:type=cert;object=device"),
            (naming("a b;c=d", b"x", true), "pkcs11:type=cert;id=x;object=a%20b%3Bc%3Dd"),
            (naming("pkcs11:", b"pkcs11:", false), "pkcs11:object=pkcs11%3A"),
            (naming("", b"", false), "pkcs11:id="),
            (naming("id=", b"id=", true), "pkcs11:type=cert;object=id%3D"),
        ];
        for (naming, name) in names {
            assert_eq!(naming.name(), name);
            assert_eq!(Naming::read(name), naming, "{name}");
        }
    }

    #[test]
    fn where_a_certificate_is_shown() {
        let elsewhere = Naming { slot: Some(3), ..naming("device", b"device", true) };
        assert_eq!(elsewhere.name(), "pkcs11:type=cert;slot-id=3;object=device");
        assert_eq!(Naming::read(&elsewhere.name()), elsewhere);
    }

    #[test]
    fn what_is_no_uri_is_a_label() {
        for name in [
            "device",
            "pkcs11:",
            "pkcs11:id",
            "pkcs11:id=%4",
            "pkcs11:type=session;x=1",
            "pkcs11:object=%ff",
            "pkcs11:slot-id=300",
        ] {
            assert_eq!(Naming::read(name), naming(name, name.as_bytes(), false));
        }
    }
}
