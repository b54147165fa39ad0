//! Templates: types and values, as a program has handed them in. Pure.

use super::Outcome;
use crate::pkcs11::*;

pub type Template = [(CK_ATTRIBUTE_TYPE, Vec<u8>)];

pub fn value_of(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    template.iter().find(|(found, value)| *found == kind && !value.is_empty()).map(|(_, value)| value.as_slice())
}

pub fn is_set(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Outcome<bool> {
    match value_of(template, kind) {
        None => Ok(false),
        Some([flag]) => Ok(*flag != 0),
        Some(_) => Err(CKR_ATTRIBUTE_VALUE_INVALID),
    }
}

pub fn number_of(template: &Template, kind: CK_ATTRIBUTE_TYPE) -> Outcome<Option<CK_ULONG>> {
    value_of(template, kind)
        .map(|value| value.try_into().map(CK_ULONG::from_ne_bytes).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID))
        .transpose()
}

pub fn mechanisms_of(template: &Template) -> Outcome<Vec<CK_MECHANISM_TYPE>> {
    let value = value_of(template, CKA_ALLOWED_MECHANISMS).unwrap_or_default();
    value
        .chunks(std::mem::size_of::<CK_MECHANISM_TYPE>())
        .map(|one| one.try_into().map(CK_MECHANISM_TYPE::from_ne_bytes).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID))
        .collect()
}

/// Big numbers are the same with leading zeros.
pub fn same(kind: CK_ATTRIBUTE_TYPE, found: &[u8], wanted: &[u8]) -> bool {
    let digits = |number: &[u8]| number.iter().skip_while(|digit| **digit == 0).copied().collect::<Vec<u8>>();
    match kind {
        CKA_MODULUS | CKA_PUBLIC_EXPONENT => digits(found) == digits(wanted),
        _ => found == wanted,
    }
}
