//! Requests to the service over its Unix socket: connections that are kept, and how this program authenticates.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::parsec::{self, opcode, status};
use crate::proto::Malformed;
use crate::secret::Secret;
use crate::socket::send_all;
use crate::wire::{self, Credentials, HEADER_BYTES};

/// How long a request may take: the service's own bound is 60 s.
const TIMEOUT: Duration = Duration::from_secs(65);
/// Below the minute after which the service closes a kept connection, so that the two do not cross.
const IDLE: Duration = Duration::from_secs(30);
const KEPT_MAX: usize = 8;
const ENDPOINT: &str = "PARSEC_SERVICE_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "unix:/run/parsec/parsec.sock";
const TOKEN_FILE: &str = "EDGEROOT_TOKEN_FILE";
const DEFAULT_TOKEN_FILE: &str = "/var/run/secrets/tokens/parsec";
const APPLICATION: &str = "EDGEROOT_APP_NAME";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answers, or not in time, or with what is no answer.
    Away,
    /// The service's answer, other than success.
    Status(u16),
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Failure::Away
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Failure::Away
    }
}

/// Whom the service takes this program for.
enum Identity {
    User,
    Application(String),
    TokenFile(String),
}

impl Identity {
    fn credentials(&self, effective_user: u32) -> Result<Credentials, Failure> {
        Ok(match self {
            Identity::User => {
                Credentials { kind: wire::UNIX_PEER_CREDENTIALS, field: effective_user.to_le_bytes().to_vec() }
            }
            Identity::Application(name) => Credentials { kind: wire::DIRECT, field: name.clone().into_bytes() },
            // Read anew for each request: whoever renews it puts another file in its place.
            Identity::TokenFile(path) => {
                let token = fs::read_to_string(path)?;
                Credentials { kind: wire::JWT_SVID, field: token.trim().as_bytes().to_vec() }
            }
        })
    }

    /// The first of the service's authenticators that this program can serve, as edgeroot's Python client chooses.
    fn choose(offered: &[u8]) -> Result<Identity, Failure> {
        let named = env::var(TOKEN_FILE).ok().filter(|path| !path.is_empty());
        if let (Some(path), true) = (&named, offered.contains(&wire::JWT_SVID)) {
            return Ok(Identity::TokenFile(path.clone()));
        }
        let application = env::var(APPLICATION).ok().filter(|name| !name.is_empty());
        for kind in offered {
            match (*kind, &application) {
                (wire::UNIX_PEER_CREDENTIALS, _) => return Ok(Identity::User),
                (wire::DIRECT, Some(name)) => return Ok(Identity::Application(name.clone())),
                (wire::JWT_SVID, _) if fs::metadata(DEFAULT_TOKEN_FILE).is_ok() => {
                    return Ok(Identity::TokenFile(DEFAULT_TOKEN_FILE.into()))
                }
                _ => {}
            }
        }
        Err(Failure::Status(status::AUTHENTICATION_ERROR))
    }
}

struct Kept {
    stream: UnixStream,
    since: Instant,
}

/// A connection to one service. Threads whose requests overlap get a socket each.
pub struct Client {
    path: String,
    effective_user: u32,
    identity: Mutex<Option<Identity>>,
    kept: Mutex<Vec<Kept>>,
}

impl Client {
    /// For the service that the environment names. `effective_user` is whom the kernel tells the service of.
    pub fn new(effective_user: u32) -> Result<Self, Failure> {
        let endpoint = env::var(ENDPOINT).ok().filter(|one| !one.is_empty());
        let path = socket_path(endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT)).ok_or(Failure::Away)?;
        Ok(Client { path, effective_user, identity: Mutex::new(None), kept: Mutex::new(Vec::new()) })
    }

    /// Of an operation that needs no identity.
    pub fn ask_as_nobody(&self, opcode: u32, provider: u8, body: &[u8]) -> Result<Secret, Failure> {
        let nobody = Credentials { kind: wire::NO_AUTHENTICATION, field: Vec::new() };
        self.exchange(opcode, provider, body, &nobody)
    }

    pub fn ask(&self, opcode: u32, provider: u8, body: &[u8]) -> Result<Secret, Failure> {
        let credentials = self.credentials()?;
        self.exchange(opcode, provider, body, &credentials)
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let mut identity = locked(&self.identity);
        if identity.is_none() {
            let answer = self.ask_as_nobody(opcode::LIST_AUTHENTICATORS, 0, &[])?;
            *identity = Some(Identity::choose(&parsec::authenticators(&answer.0)?)?);
        }
        identity.as_ref().ok_or(Failure::Away)?.credentials(self.effective_user)
    }

    /// A request on a kept connection may cross the service's closing it. Then it was not answered, and is sent once
    /// more on a new one, unless it creates or destroys: nobody knows whether the service has done that.
    fn exchange(&self, opcode: u32, provider: u8, body: &[u8], credentials: &Credentials) -> Result<Secret, Failure> {
        let frame = wire::request(opcode, provider, body, credentials).ok_or(Failure::Away)?;
        let repeatable = !matches!(opcode, opcode::PSA_GENERATE_KEY | opcode::PSA_IMPORT_KEY | opcode::PSA_DESTROY_KEY);
        if repeatable {
            if let Some(stream) = self.take() {
                match self.converse(stream, &frame, opcode) {
                    Ok(answer) => return answered(answer),
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        return Err(Failure::Away); // it has had its time
                    }
                    Err(_) => {}
                }
            }
        }
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        answered(self.converse(stream, &frame, opcode)?)
    }

    fn converse(&self, mut stream: UnixStream, frame: &[u8], opcode: u32) -> io::Result<(u16, Secret)> {
        // A service may refuse a request before it has read all of it; then its answer is there to be read.
        if let Err(error) = send_all(&stream, frame) {
            if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                return Err(error);
            }
        }
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let answer = wire::answer(&header).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        // The length is believed up to a page, and then byte by byte: what does not come takes no memory. What fits
        // there, as secrets do, is not copied while it comes.
        let mut body = Secret(Vec::with_capacity((answer.body_length as usize).min(4096) + 32));
        (&mut stream).take(answer.body_length.into()).read_to_end(&mut body.0)?;
        if body.0.len() as u64 != u64::from(answer.body_length) || (answer.status == 0 && answer.opcode != opcode) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut kept = locked(&self.kept);
        if kept.len() < KEPT_MAX {
            kept.push(Kept { stream, since: Instant::now() });
        }
        Ok((answer.status, body))
    }

    /// A connection that the service has not closed, and on which nothing is to be read.
    fn take(&self) -> Option<UnixStream> {
        loop {
            let one = locked(&self.kept).pop()?;
            if one.since.elapsed() < IDLE && is_quiet(&one.stream) {
                return Some(one.stream);
            }
        }
    }
}

fn answered((status, body): (u16, Secret)) -> Result<Secret, Failure> {
    if status == status::SUCCESS {
        Ok(body)
    } else {
        Err(Failure::Status(status))
    }
}

/// An end, or bytes that nobody asked for, would be readable.
fn is_quiet(stream: &UnixStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let mut reader = stream;
    let quiet = matches!(reader.read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    quiet && stream.set_nonblocking(false).is_ok()
}

/// A poisoned lock guards nothing that a panic could have left half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a URI of the scheme `unix` with an absolute path, percent-encoded where need be (RFC 3986, clause 2.1).
fn socket_path(endpoint: &str) -> Option<String> {
    let path = endpoint.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') {
        return None;
    }
    String::from_utf8(crate::naming::percent_decoded(path)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    #[test]
    fn endpoints() {
        assert_eq!(socket_path("unix:/run/a").as_deref(), Some("/run/a"));
        assert_eq!(socket_path("unix:///run/a%20b").as_deref(), Some("/run/a b"));
        for wrong in ["tcp:/run/a", "unix:run/a", "/run/a", "unix:/run/%4", ""] {
            assert_eq!(socket_path(wrong), None, "{wrong}");
        }
    }

    fn served_by(answers: Vec<Vec<u8>>) -> Client {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = env::temp_dir().join(format!("edgeroot-pkcs11-{}-{}", std::process::id(), number));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let place = path.to_str().unwrap().to_owned();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; HEADER_BYTES];
                let _ = stream.read_exact(&mut request);
                let _ = stream.write_all(&answer);
            }
            let _ = fs::remove_file(path);
        });
        Client { path: place, effective_user: 0, identity: Mutex::new(None), kept: Mutex::new(Vec::new()) }
    }

    fn asked(client: &Client) -> Result<Vec<u8>, Failure> {
        client.ask_as_nobody(opcode::LIST_KEYS, 0, &[]).map(|body| body.0.clone())
    }

    fn answer(opcode: u32, body: &[u8]) -> Vec<u8> {
        let nobody = Credentials { kind: 0, field: Vec::new() };
        wire::request(opcode, 0, body, &nobody).unwrap()
    }

    #[test]
    fn an_answer_that_is_cut_or_lies_is_none() {
        let good = answer(opcode::LIST_KEYS, b"\x0a\x00");
        for end in 0..good.len() {
            let client = served_by(vec![good[..end].to_vec()]);
            assert_eq!(asked(&client), Err(Failure::Away), "{end}");
        }
        let client = served_by(vec![answer(opcode::LIST_OPCODES, b"")]);
        assert_eq!(asked(&client), Err(Failure::Away));
    }

    #[test]
    fn a_connection_that_the_service_closes_is_replaced() {
        let good = answer(opcode::LIST_KEYS, b"\x0a\x00");
        let client = served_by(vec![good.clone(), good.clone(), good]);
        for _ in 0..3 {
            assert_eq!(asked(&client).unwrap(), b"\x0a\x00");
        }
    }

    #[test]
    fn a_status_is_told() {
        let mut refused = answer(1, b"");
        refused[32] = 6;
        let client = served_by(vec![refused]);
        assert_eq!(asked(&client), Err(Failure::Status(6)));
    }
}
