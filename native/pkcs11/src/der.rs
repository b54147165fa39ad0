//! DER (ITU-T X.690), as far as keys, signatures' DigestInfo and certificates are looked into.

use crate::parsec::{Hash, BRAINPOOL_P_R1, SECP_K1, SECP_R1};
use crate::secret::Secret;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const EXPLICIT_0: u8 = 0xa0;

/// One element: its tag, its contents, and all of it with its head.
struct Element<'a> {
    tag: u8,
    contents: &'a [u8],
    whole: &'a [u8],
}

fn element<'a>(from: &mut &'a [u8]) -> Option<Element<'a>> {
    let start = *from;
    let (&tag, rest) = start.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit)), rest)
    };
    if length > rest.len() {
        return None;
    }
    let head = start.len() - rest.len();
    let (whole, left) = start.split_at(head + length);
    *from = left;
    Some(Element { tag, contents: &whole[head..], whole })
}

fn expect<'a>(from: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    element(from).filter(|one| one.tag == tag)
}

/// Modulus and public exponent of an RSAPublicKey (RFC 8017, appendix A.1.1), big-endian, without leading zeros.
pub fn rsa_public_key(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut left = der;
    let mut inner = expect(&mut left, SEQUENCE)?.contents;
    let mut number = || {
        let digits = expect(&mut inner, INTEGER)?.contents;
        Some(digits[digits.iter().take_while(|digit| **digit == 0).count()..].to_vec())
    };
    let found = (number()?, number()?);
    Some(found).filter(|(modulus, exponent)| left.is_empty() && !modulus.is_empty() && !exponent.is_empty())
}

/// An RSAPublicKey of modulus and public exponent.
pub fn rsa_public_key_of(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    wrapped(SEQUENCE, &[integer(modulus), integer(exponent)].concat())
}

/// An RSAPrivateKey of two primes (RFC 8017, appendix A.1.2) of its numbers from the modulus on.
pub fn rsa_private_key_of(numbers: &[&[u8]]) -> Secret {
    let mut contents = Secret(integer(&[]));
    for number in numbers {
        contents.0.extend_from_slice(&Secret(integer(number)).0);
    }
    Secret(wrapped(SEQUENCE, &contents.0))
}

fn integer(digits: &[u8]) -> Vec<u8> {
    let digits = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
    let sign = usize::from(digits.first().map_or(true, |first| *first >= 0x80));
    wrapped(INTEGER, &[&vec![0; sign], digits].concat())
}

pub fn octet_string(contents: &[u8]) -> Vec<u8> {
    wrapped(OCTET_STRING, contents)
}

/// The contents of an OCTET STRING that is all there is.
pub fn octets(der: &[u8]) -> Option<&[u8]> {
    let mut left = der;
    let found = expect(&mut left, OCTET_STRING)?;
    Some(found.contents).filter(|_| left.is_empty())
}

fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let digits = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
        out.push(0x80 | digits.len() as u8);
        out.extend_from_slice(digits);
    }
    out.extend_from_slice(contents);
    out
}

/// The hashes that a DigestInfo may name (RFC 8017, appendix B.1), by the last two arcs of their identifiers.
const SHA_2: [(u8, Hash); 4] = [(4, Hash::SHA_224), (1, Hash::SHA_256), (2, Hash::SHA_384), (3, Hash::SHA_512)];
/// 2.16.840.1.101.3.4.2, what those of SHA-2 begin with.
const HASHES: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// 1.3.14.3.2.26
const SHA_1: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// The hash and its value in a DigestInfo (RFC 8017, clause 9.2).
pub fn digest_info(der: &[u8]) -> Option<(Hash, &[u8])> {
    let mut left = der;
    let mut inner = expect(&mut left, SEQUENCE)?.contents;
    let mut algorithm = expect(&mut inner, SEQUENCE)?.contents;
    let identifier = expect(&mut algorithm, OBJECT_IDENTIFIER)?.contents;
    let digest = expect(&mut inner, OCTET_STRING)?.contents;
    let hash = if identifier == SHA_1 {
        Hash::SHA_1
    } else {
        let last = identifier.strip_prefix(&HASHES[..])?;
        SHA_2.iter().find(|(arc, _)| last == [*arc]).map(|(_, hash)| *hash)?
    };
    Some((hash, digest)).filter(|_| left.is_empty() && inner.is_empty() && digest.len() == hash.bytes())
}

/// Named curves: family and bits as PSA has them, and the identifier's contents (RFC 5480, SEC 2, RFC 5639).
const CURVES: [(u64, u32, &[u8]); 9] = [
    (SECP_R1, 256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
    (SECP_R1, 384, &[0x2b, 0x81, 0x04, 0x00, 0x22]),
    (SECP_R1, 521, &[0x2b, 0x81, 0x04, 0x00, 0x23]),
    (SECP_R1, 224, &[0x2b, 0x81, 0x04, 0x00, 0x21]),
    (SECP_R1, 192, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01]),
    (SECP_K1, 256, &[0x2b, 0x81, 0x04, 0x00, 0x0a]),
    (BRAINPOOL_P_R1, 256, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07]),
    (BRAINPOOL_P_R1, 384, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b]),
    (BRAINPOOL_P_R1, 512, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d]),
];

/// ECParameters with the curve's name (RFC 5480, clause 2.1.1).
pub fn curve_parameters(family: u64, bits: u32) -> Option<Vec<u8>> {
    let found = CURVES.iter().find(|curve| (curve.0, curve.1) == (family, bits))?;
    Some(wrapped(OBJECT_IDENTIFIER, found.2))
}

/// Family and bits of a curve by its name.
pub fn curve(parameters: &[u8]) -> Option<(u64, u32)> {
    let mut left = parameters;
    let identifier = expect(&mut left, OBJECT_IDENTIFIER)?.contents;
    let found = CURVES.iter().find(|curve| curve.2 == identifier)?;
    Some((found.0, found.1)).filter(|_| left.is_empty())
}

/// Of a certificate (RFC 5280, clause 4.1): what PKCS#11 has attributes for, each as DER.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    pub serial_number: &'a [u8],
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
}

pub fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    let mut left = der;
    let mut whole = expect(&mut left, SEQUENCE)?.contents;
    if !left.is_empty() {
        return None;
    }
    let mut inner = expect(&mut whole, SEQUENCE)?.contents;
    let mut next = element(&mut inner)?;
    if next.tag == EXPLICIT_0 {
        next = element(&mut inner)?;
    }
    if next.tag != INTEGER {
        return None;
    }
    expect(&mut inner, SEQUENCE)?; // signature
    let issuer = expect(&mut inner, SEQUENCE)?.whole;
    expect(&mut inner, SEQUENCE)?; // validity
    let subject = expect(&mut inner, SEQUENCE)?.whole;
    Some(Certificate { serial_number: next.whole, issuer, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_public_keys() {
        let der = [0x30, 0x09, 0x02, 0x02, 0x00, 0xc5, 0x02, 0x03, 0x01, 0x00, 0x01];
        assert_eq!(rsa_public_key(&der), Some((vec![0xc5], vec![1, 0, 1])));
        assert_eq!(rsa_public_key_of(&[0, 0xc5], &[1, 0, 1]), der);
        for end in 0..der.len() {
            assert_eq!(rsa_public_key(&der[..end]), None);
        }
        let long = rsa_public_key_of(&[0xff; 256], &[3]);
        assert_eq!(&long[..8], [0x30, 0x82, 0x01, 0x08, 0x02, 0x82, 0x01, 0x01]);
        assert_eq!(rsa_public_key(&long), Some((vec![0xff; 256], vec![3])));
    }

    #[test]
    fn digest_infos() {
        // The example of RFC 8017, clause 9.2, note 1, with a digest of zeros.
        let head = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ];
        let whole = [&head[..], &[0; 32]].concat();
        assert_eq!(digest_info(&whole), Some((Hash::SHA_256, &[0; 32][..])));
        for end in 0..whole.len() {
            assert_eq!(digest_info(&whole[..end]), None);
        }
        let mut other = whole.clone();
        other[14] = 9;
        assert_eq!(digest_info(&other), None);
        other[14] = 3; // the length of a SHA-512 is another
        assert_eq!(digest_info(&other), None);
    }

    #[test]
    fn curves_have_one_name() {
        for (family, bits, _) in CURVES {
            assert_eq!(curve(&curve_parameters(family, bits).unwrap()), Some((family, bits)));
        }
        assert_eq!(curve_parameters(SECP_R1, 255), None);
        assert_eq!(curve(b"\x13\x09prime256v"), None);
    }

    #[test]
    fn lengths_that_lie() {
        for wrong in [
            &[0x04][..],
            &[0x04, 0x80],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x04, 2, 1],
        ] {
            assert_eq!(octets(wrong), None);
        }
        assert_eq!(octets(&octet_string(&[7; 300])), Some(&[7; 300][..]));
        assert_eq!(certificate(&[0x30, 0x02, 0x30, 0x00]), None);
    }
}
