//! Bytes that are overwritten before their memory is given back.

/// What a program has asked to see in the clear: a shared secret, a decrypted message.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl Drop for Secret {
    fn drop(&mut self) {
        for byte in &mut self.0 {
            // SAFETY: a valid, exclusive reference; volatile, so that it is not left out as nobody reads it any more.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
    }
}
