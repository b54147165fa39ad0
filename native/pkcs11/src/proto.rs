//! Protocol Buffers' encoding (proto3), as far as Parsec's messages need it. Bytes in, values out.

/// What ended the reading of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A message that is being written.
#[derive(Default, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbers, enums and bools; like every proto3 field, one of the default value is left out.
    pub fn number(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
        self
    }

    pub fn bytes(self, field: u32, value: &[u8]) -> Self {
        if value.is_empty() {
            return self;
        }
        self.present(field, value)
    }

    /// A sub-message: one that is empty says something, too.
    pub fn message(self, field: u32, value: Message) -> Self {
        self.present(field, &value.0)
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn present(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// One field of a message that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub fn number(self) -> Result<u64, Malformed> {
        match self {
            Value::Number(value) => Ok(value),
            Value::Bytes(_) => Err(Malformed),
        }
    }

    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(value) => Ok(value),
            Value::Number(_) => Err(Malformed),
        }
    }

    pub fn text(self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }
}

/// Fields in their order. Those of 4 and 8 fixed bytes, which no message of Parsec has, are skipped.
pub fn fields(mut message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let field = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if field == 0 {
            return Err(Malformed);
        }
        match key & 7 {
            0 => found.push((field, Value::Number(take_varint(&mut message)?))),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = take_varint(&mut message)?;
                found.push((field, Value::Bytes(take(&mut message, length)?)));
            }
            5 => drop(take(&mut message, 4)?),
            _ => return Err(Malformed),
        }
    }
    Ok(found)
}

/// The last value of a field, as proto3 has it.
pub fn field<'a>(fields: &[(u32, Value<'a>)], number: u32) -> Option<Value<'a>> {
    fields.iter().rev().find(|(found, _)| *found == number).map(|(_, value)| *value)
}

/// A repeated field of numbers, packed or not.
pub fn numbers(fields: &[(u32, Value<'_>)], number: u32) -> Result<Vec<u64>, Malformed> {
    let mut found = Vec::new();
    for (_, value) in fields.iter().filter(|(one, _)| *one == number) {
        match value {
            Value::Number(one) => found.push(*one),
            Value::Bytes(packed) => {
                let mut left = *packed;
                while !left.is_empty() {
                    found.push(take_varint(&mut left)?);
                }
            }
        }
    }
    Ok(found)
}

fn take<'a>(from: &mut &'a [u8], length: u64) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    if length > from.len() {
        return Err(Malformed);
    }
    let (taken, rest) = from.split_at(length);
    *from = rest;
    Ok(taken)
}

fn take_varint(from: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for position in 0..10 {
        let byte = take(from, 1)?[0];
        if position == 9 && byte > 1 {
            return Err(Malformed);
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::new().number(1, 300).finish();
        let written = Message::new().bytes(1, b"device").number(2, 1 << 40).message(3, Message::new()).bytes(4, &inner);
        let bytes = written.finish();
        let read = fields(&bytes).unwrap();
        assert_eq!(field(&read, 1).unwrap().text().unwrap(), "device");
        assert_eq!(field(&read, 2), Some(Value::Number(1 << 40)));
        assert_eq!(field(&read, 3), Some(Value::Bytes(b"")));
        assert_eq!(inner, [0x08, 0xac, 0x02]);
        assert_eq!(field(&read, 5), None);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let whole = Message::new().bytes(1, b"device").number(2, 1 << 40).finish();
        for end in 1..whole.len() {
            if end != 8 {
                assert_eq!(fields(&whole[..end]), Err(Malformed), "{end}");
            }
        }
        assert_eq!(fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(Malformed));
        assert_eq!(fields(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Err(Malformed));
        assert_eq!(fields(&[0x00, 0x01]), Err(Malformed));
        assert_eq!(fields(&[0x0b]), Err(Malformed));
    }

    #[test]
    fn repeated_numbers_are_read_packed_and_not() {
        let read = [(1, Value::Bytes(&[1, 0xac, 0x02])), (1, Value::Number(7))];
        assert_eq!(numbers(&read, 1).unwrap(), [1, 300, 7]);
        assert_eq!(numbers(&[(1, Value::Bytes(&[0x80]))], 1), Err(Malformed));
    }
}
