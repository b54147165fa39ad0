//! Verifies an attestation result with Veraison's own library and prints its claims as JSON.
//!
//! `ear-reader jwt|cwt TOKEN KEY NONCE`: files with the token, the verifier's public key (JWK, ES256) and the nonce. Of a
//! CWT the nonce, which is bytes there and cannot be printed as JSON, is compared here and left out.

use ear::{Algorithm, Ear, Nonce};
use std::{env, fs, process};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, kind, token, key, nonce] = arguments.as_slice() else {
        eprintln!("usage: ear-reader jwt|cwt TOKEN KEY NONCE");
        process::exit(2);
    };
    let token = fs::read(token).expect("the token can be read");
    let key = fs::read(key).expect("the key can be read");
    let nonce = fs::read(nonce).expect("the nonce can be read");
    let read = match kind.as_str() {
        "jwt" => Ear::from_jwt_jwk(&String::from_utf8_lossy(&token), Algorithm::ES256, &key),
        _ => Ear::from_cose_jwk(&token, Algorithm::ES256, &key),
    };
    let mut ear = read.unwrap_or_else(|error| panic!("{error:?}"));
    if kind == "cwt" {
        let expected = Nonce::try_from(nonce.as_slice()).expect("it is a nonce");
        assert_eq!(ear.nonce.take(), Some(expected));
    }
    let mut claims = serde_json::to_value(&ear).expect("an EAR is JSON");
    for (name, appraisal) in &ear.submods {
        // The library reads it and does not write it.
        if let Some(attested) = &appraisal.key_attestation {
            let stated = serde_json::to_value(attested).expect("it is JSON");
            claims["submods"][name]["ear.veraison.key-attestation"] = stated;
        }
    }
    println!("{claims}");
}
