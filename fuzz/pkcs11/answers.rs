//! What the PKCS#11 module reads: answers of the service, names of keys, and DER from programs.
//!
//! In this folder, with coverage to be guided by (a panic or an overflow is a finding; it ends with one):
//!
//!     RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!       -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!       -Coverflow-checks=on" cargo run --release --target x86_64-unknown-linux-gnu -- -max_total_time=60
#![no_main]

use edgeroot_pkcs11::{der, naming::Naming, parsec, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(keys) = parsec::keys(data) {
        for key in keys {
            let naming = Naming::read(&key.name);
            // What is read from a name and written again is read as the same.
            assert_eq!(Naming::read(&naming.name()), naming);
        }
    }
    let _ = parsec::providers(data);
    let _ = parsec::opcodes(data);
    let _ = parsec::authenticators(data);
    let _ = parsec::bytes_of(data);
    if let Ok(header) = data.try_into() {
        let _ = wire::answer(header);
    }
    let _ = der::certificate(data);
    let _ = der::digest_info(data);
    let _ = der::rsa_public_key(data);
    let _ = der::curve(data);
    if let Ok(name) = std::str::from_utf8(data) {
        let naming = Naming::read(name);
        assert_eq!(Naming::read(&naming.name()), naming);
    }
});
