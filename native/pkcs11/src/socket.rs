//! Sending without the signal SIGPIPE, which would end a program whose service has closed the connection: the standard
//! library's own programs ignore it, and a module lives in others'.

use std::io;
use std::os::raw::{c_int, c_void};
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixStream;

const MSG_NOSIGNAL: c_int = 0x4000;

extern "C" {
    fn send(socket: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize;
}

/// All of it; an error instead of a signal where nobody reads any more.
pub fn send_all(stream: &UnixStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        // SAFETY: a descriptor that is open as long as the stream, and a slice's own pointer and length.
        let sent = unsafe { send(stream.as_raw_fd(), data.as_ptr().cast(), data.len(), MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(sent) => data = &data[sent..],
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
