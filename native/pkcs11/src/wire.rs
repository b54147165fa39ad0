//! Frames of the Parsec wire protocol 1.0: a header of 36 bytes, a body, and in requests how they are authenticated.

pub const HEADER_BYTES: usize = 36;
/// More than any answer has; the service's own limit for requests is 1 MiB.
pub const ANSWER_MAX_BYTES: u32 = 4 << 20;
const MAGIC: u32 = 0x5EC0_A710;
/// Bytes that follow the header's own size.
const SIZE: u16 = 30;
/// Leave the connection open; and answer with what upstream's contract does not have (docs/wire-extensions.md).
const KEEP: u16 = 1;
const EXTENDED: u16 = 2;

/// How a request says who sends it.
#[derive(Clone)]
pub struct Credentials {
    pub kind: u8,
    pub field: Vec<u8>,
}

pub const NO_AUTHENTICATION: u8 = 0;
pub const DIRECT: u8 = 1;
pub const UNIX_PEER_CREDENTIALS: u8 = 3;
pub const JWT_SVID: u8 = 4;

/// None if the parts are longer than the protocol can say.
pub fn request(opcode: u32, provider: u8, body: &[u8], credentials: &Credentials) -> Option<Vec<u8>> {
    let body_length = u32::try_from(body.len()).ok()?;
    let field_length = u16::try_from(credentials.field.len()).ok()?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len() + credentials.field.len());
    frame.extend_from_slice(&MAGIC.to_le_bytes());
    frame.extend_from_slice(&SIZE.to_le_bytes());
    frame.extend_from_slice(&[1, 0]);
    frame.extend_from_slice(&(KEEP | EXTENDED).to_le_bytes());
    frame.push(provider);
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&[0, 0, credentials.kind]);
    frame.extend_from_slice(&body_length.to_le_bytes());
    frame.extend_from_slice(&field_length.to_le_bytes());
    frame.extend_from_slice(&opcode.to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame.extend_from_slice(&credentials.field);
    Some(frame)
}

/// What the header of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub opcode: u32,
    pub status: u16,
    pub body_length: u32,
}

/// None if it is no header of an answer.
pub fn answer(header: &[u8; HEADER_BYTES]) -> Option<Answer> {
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let plain =
        long(0) == MAGIC && word(4) == SIZE && header[6..8] == [1, 0] && header[19] == 0 && header[34..] == [0, 0];
    let found = Answer { opcode: long(28), status: word(32), body_length: long(22) };
    if plain && word(26) == 0 && found.body_length <= ANSWER_MAX_BYTES {
        Some(found)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Credentials {
        Credentials { kind: NO_AUTHENTICATION, field: Vec::new() }
    }

    #[test]
    fn a_ping_is_what_the_specification_shows() {
        let frame = request(1, 0, &[], &nobody()).unwrap();
        let mut expected = [0u8; HEADER_BYTES];
        expected[..8].copy_from_slice(&[0x10, 0xa7, 0xc0, 0x5e, 0x1e, 0x00, 0x01, 0x00]);
        expected[8] = 3;
        expected[28] = 1;
        assert_eq!(frame, expected);
    }

    #[test]
    fn body_and_authentication_follow_the_header() {
        let user = Credentials { kind: UNIX_PEER_CREDENTIALS, field: vec![1, 2, 3, 4] };
        let frame = request(0x1a, 4, b"body", &user).unwrap();
        assert_eq!(&frame[HEADER_BYTES..], b"body\x01\x02\x03\x04");
        assert_eq!((frame[10], frame[21], frame[22], frame[26]), (4, 3, 4, 4));
        assert!(request(1, 0, &[], &Credentials { kind: DIRECT, field: vec![0; 65536] }).is_none());
    }

    #[test]
    fn an_answer_that_lies_is_none() {
        let mut header = [0u8; HEADER_BYTES];
        header.copy_from_slice(&request(4, 1, &[], &nobody()).unwrap());
        header[32..34].copy_from_slice(&1140u16.to_le_bytes());
        assert_eq!(answer(&header), Some(Answer { opcode: 4, status: 1140, body_length: 0 }));
        for (at, value) in [(0, 0), (4, 29), (6, 2), (7, 1), (19, 1), (26, 1), (34, 1), (35, 1), (25, 0xff)] {
            let mut changed = header;
            changed[at] = value;
            assert_eq!(answer(&changed), None, "{at}");
        }
    }
}
