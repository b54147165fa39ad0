//! Runs every operation of upstream's Rust client against a service: `rust-client PROVIDER_ID`.
//!
//! Prints a line for each operation, its name and `ok` or the error. What an operation gives back is checked with the
//! operation that undoes or verifies it, here, as any program would.

use std::collections::HashSet;
use std::convert::TryFrom;

use parsec_client::core::interface::operations::can_do_crypto::CheckType;
use parsec_client::core::interface::operations::list_providers::ProviderInfo;
use parsec_client::core::interface::operations::psa_algorithm::{
    Aead, AeadWithDefaultLengthTag, Algorithm, AsymmetricEncryption, AsymmetricSignature, Cipher, Hash, KeyAgreement,
    RawKeyAgreement,
};
use parsec_client::core::interface::operations::psa_key_attributes::{
    Attributes, EccFamily, Lifetime, Policy, Type, UsageFlags,
};
use parsec_client::core::interface::requests::{Opcode, ProviderId};
use parsec_client::BasicClient;

type Outcome<T = ()> = Result<T, String>;

const SHA_256: AsymmetricSignature = AsymmetricSignature::Ecdsa { hash_alg: hash(Hash::Sha256) };
const GCM: Aead = Aead::AeadWithDefaultLengthTag(AeadWithDefaultLengthTag::Gcm);
const OAEP: AsymmetricEncryption = AsymmetricEncryption::RsaOaep { hash_alg: Hash::Sha256 };

const fn hash(hash: Hash) -> parsec_client::core::interface::operations::psa_algorithm::SignHash {
    parsec_client::core::interface::operations::psa_algorithm::SignHash::Specific(hash)
}

struct Run {
    client: BasicClient,
    provider: ProviderInfo,
    opcodes: HashSet<Opcode>,
}

fn main() {
    let id = std::env::args().nth(1).and_then(|id| id.parse().ok()).expect("usage: rust-client PROVIDER_ID");
    let mut client = BasicClient::new(Some("rust-client".into())).expect("a service");
    let provider = client
        .list_providers()
        .expect("ListProviders")
        .into_iter()
        .find(|one| one.id as u8 == id)
        .expect("a provider with this id");
    client.set_implicit_provider(ProviderId::try_from(id).expect("a known provider"));
    let opcodes = client.list_opcodes(provider.id).expect("ListOpcodes");
    let run = Run { client, provider, opcodes };
    let steps: [(&str, fn(&Run) -> Outcome); 19] = [
        ("Ping", ping),
        ("ListAuthenticators", authenticators),
        ("PsaGenerateKey", generate),
        ("ListKeys", list_keys),
        ("PsaExportPublicKey", export_public),
        ("PsaSignHash", sign_hash),
        ("PsaSignMessage", sign_message),
        ("PsaImportKey", import),
        ("PsaExportKey", export),
        ("PsaAsymmetricEncrypt", asymmetric),
        ("PsaHashCompute", hashes),
        ("PsaAeadEncrypt", aead),
        ("PsaCipherEncrypt", cipher),
        ("PsaRawKeyAgreement", agreement),
        ("PsaGenerateRandom", random),
        ("CanDoCrypto", can_do),
        ("PrepareKeyAttestation", attestation),
        ("ListClients", clients),
        ("PsaDestroyKey", destroy),
    ];
    for (name, step) in steps {
        match step(&run) {
            Ok(()) => println!("{name}\tok"),
            Err(error) => println!("{name}\t{error}"),
        }
    }
    let mut offered: Vec<String> = run.opcodes.iter().map(|one| format!("{one:?}")).collect();
    offered.sort();
    println!("offered\t{}", offered.join(" "));
    println!("provider\t{}", run.provider.uuid);
    for name in ["rust-sign", "rust-message", "rust-import", "rust-export", "rust-oaep", "rust-gcm", "rust-cbc", "rust-ecdh"] {
        let _ = run.client.psa_destroy_key(name);
    }
}

fn told<T>(result: Result<T, parsec_client::error::Error>) -> Outcome<T> {
    result.map_err(|error| match error {
        parsec_client::error::Error::Service(status) => format!("{status:?}"),
        parsec_client::error::Error::Client(kind) => format!("client: {kind:?}"),
    })
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("wrong: {found:?}, not {expected:?}"))
    }
}

fn attributes(key_type: Type, bits: usize, algorithm: Algorithm, usage: &[fn(&mut UsageFlags) -> &mut UsageFlags]) -> Attributes {
    let mut flags = UsageFlags::default();
    for set in usage {
        let _ = set(&mut flags);
    }
    let policy = Policy { usage_flags: flags, permitted_algorithms: algorithm };
    Attributes { lifetime: Lifetime::Persistent, key_type, bits, policy }
}

fn signing() -> Attributes {
    let key_type = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    attributes(
        key_type,
        256,
        Algorithm::AsymmetricSignature(SHA_256),
        &[UsageFlags::set_sign_hash, UsageFlags::set_verify_hash, UsageFlags::set_sign_message, UsageFlags::set_verify_message],
    )
}

fn ping(run: &Run) -> Outcome {
    same(told(run.client.ping())?, (1, 0))
}

fn authenticators(run: &Run) -> Outcome {
    same(told(run.client.list_authenticators())?.len(), 1)
}

fn generate(run: &Run) -> Outcome {
    told(run.client.psa_generate_key("rust-sign", signing()))?;
    let again = told(run.client.psa_generate_key("rust-sign", signing()));
    same(again, Err("PsaErrorAlreadyExists".into()))
}

fn list_keys(run: &Run) -> Outcome {
    let listed = told(run.client.list_keys())?;
    same(listed.iter().filter(|one| one.name == "rust-sign" && one.provider_id == run.provider.id).count(), 1)?;
    same(told(run.client.key_attributes("rust-sign"))?, signing())
}

fn export_public(run: &Run) -> Outcome {
    let point = told(run.client.psa_export_public_key("rust-sign"))?;
    same((point.len(), point[0]), (65, 4))
}

fn sign_hash(run: &Run) -> Outcome {
    let signature = told(run.client.psa_sign_hash("rust-sign", &[7; 32], SHA_256))?;
    same(signature.len(), 64)?;
    told(run.client.psa_verify_hash("rust-sign", &[7; 32], SHA_256, &signature))?;
    let other = told(run.client.psa_verify_hash("rust-sign", &[8; 32], SHA_256, &signature));
    same(other, Err("PsaErrorInvalidSignature".into()))
}

fn sign_message(run: &Run) -> Outcome {
    told(run.client.psa_generate_key("rust-message", signing()))?;
    let signature = told(run.client.psa_sign_message("rust-message", b"message", SHA_256))?;
    told(run.client.psa_verify_message("rust-message", b"message", SHA_256, &signature))?;
    let other = told(run.client.psa_verify_message("rust-message", b"another", SHA_256, &signature));
    same(other, Err("PsaErrorInvalidSignature".into()))
}

fn import(run: &Run) -> Outcome {
    let point = told(run.client.psa_export_public_key("rust-sign"))?;
    let key_type = Type::EccPublicKey { curve_family: EccFamily::SecpR1 };
    let algorithm = Algorithm::AsymmetricSignature(SHA_256);
    let public = attributes(key_type, 256, algorithm, &[UsageFlags::set_verify_hash, UsageFlags::set_verify_message]);
    told(run.client.psa_import_key("rust-import", &point, public))?;
    let signature = told(run.client.psa_sign_hash("rust-sign", &[9; 32], SHA_256))?;
    told(run.client.psa_verify_hash("rust-import", &[9; 32], SHA_256, &signature))
}

fn export(run: &Run) -> Outcome {
    let key_type = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    let algorithm = Algorithm::AsymmetricSignature(SHA_256);
    told(run.client.psa_generate_key("rust-export", attributes(key_type, 256, algorithm, &[UsageFlags::set_export, UsageFlags::set_sign_hash])))?;
    same(told(run.client.psa_export_key("rust-export"))?.len(), 32)?;
    let kept = told(run.client.psa_export_key("rust-sign"));
    same(kept, Err("PsaErrorNotPermitted".into()))
}

fn asymmetric(run: &Run) -> Outcome {
    let usage: [fn(&mut UsageFlags) -> &mut UsageFlags; 2] = [UsageFlags::set_encrypt, UsageFlags::set_decrypt];
    told(run.client.psa_generate_key("rust-oaep", attributes(Type::RsaKeyPair, 2048, Algorithm::AsymmetricEncryption(OAEP), &usage)))?;
    let sealed = told(run.client.psa_asymmetric_encrypt("rust-oaep", OAEP, b"secret", None))?;
    same(told(run.client.psa_asymmetric_decrypt("rust-oaep", OAEP, &sealed, None))?, b"secret".to_vec())
}

fn hashes(run: &Run) -> Outcome {
    let digest = told(run.client.psa_hash_compute(Hash::Sha256, b"message"))?;
    told(run.client.psa_hash_compare(Hash::Sha256, b"message", &digest))?;
    same(told(run.client.psa_hash_compare(Hash::Sha256, b"another", &digest)), Err("PsaErrorInvalidSignature".into()))
}

fn aead(run: &Run) -> Outcome {
    let usage: [fn(&mut UsageFlags) -> &mut UsageFlags; 2] = [UsageFlags::set_encrypt, UsageFlags::set_decrypt];
    told(run.client.psa_generate_key("rust-gcm", attributes(Type::Aes, 256, Algorithm::Aead(GCM), &usage)))?;
    let sealed = told(run.client.psa_aead_encrypt("rust-gcm", GCM, &[1; 12], b"head", b"secret"))?;
    same(told(run.client.psa_aead_decrypt("rust-gcm", GCM, &[1; 12], b"head", &sealed))?, b"secret".to_vec())?;
    let other = told(run.client.psa_aead_decrypt("rust-gcm", GCM, &[1; 12], b"another", &sealed));
    same(other, Err("PsaErrorInvalidSignature".into()))
}

fn cipher(run: &Run) -> Outcome {
    let usage: [fn(&mut UsageFlags) -> &mut UsageFlags; 2] = [UsageFlags::set_encrypt, UsageFlags::set_decrypt];
    told(run.client.psa_generate_key("rust-cbc", attributes(Type::Aes, 128, Algorithm::Cipher(Cipher::CbcPkcs7), &usage)))?;
    let sealed = told(run.client.psa_cipher_encrypt("rust-cbc".into(), Cipher::CbcPkcs7, b"secret"))?;
    same(told(run.client.psa_cipher_decrypt("rust-cbc".into(), Cipher::CbcPkcs7, &sealed))?, b"secret".to_vec())
}

fn agreement(run: &Run) -> Outcome {
    let key_type = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    let algorithm = Algorithm::KeyAgreement(KeyAgreement::Raw(RawKeyAgreement::Ecdh));
    told(run.client.psa_generate_key("rust-ecdh", attributes(key_type, 256, algorithm, &[UsageFlags::set_derive])))?;
    let peer = told(run.client.psa_export_public_key("rust-ecdh"))?;
    same(told(run.client.psa_raw_key_agreement(RawKeyAgreement::Ecdh, "rust-ecdh", &peer))?.len(), 32)
}

fn random(run: &Run) -> Outcome {
    let (one, other) = (told(run.client.psa_generate_random(32))?, told(run.client.psa_generate_random(32))?);
    same((one.len(), other.len(), one == other), (32, 32, false))
}

fn can_do(run: &Run) -> Outcome {
    told(run.client.can_do_crypto(CheckType::Generate, signing()))?;
    let none = attributes(Type::Arc4, 128, Algorithm::AsymmetricSignature(SHA_256), &[UsageFlags::set_sign_hash]);
    same(told(run.client.can_do_crypto(CheckType::Use, none)), Err("PsaErrorNotSupported".into()))
}

fn attestation(run: &Run) -> Outcome {
    if run.provider.id != ProviderId::Tpm {
        return Err("of a TPM only".into());
    }
    let prepared = told(run.client.prepare_activate_credential("rust-sign".into(), None))?;
    same((prepared.name.len(), prepared.public.is_empty(), prepared.attesting_key_pub.is_empty()), (34, false, false))?;
    // A credential that nobody has made for this key.
    match told(run.client.activate_credential_attestation("rust-sign".into(), None, vec![0; 52], vec![0; 256])) {
        Err(error) if error.starts_with("Psa") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn clients(run: &Run) -> Outcome {
    same(told(run.client.list_clients()), Err("AdminOperation".into()))?;
    same(told(run.client.delete_client("somebody")), Err("AdminOperation".into()))
}

fn destroy(run: &Run) -> Outcome {
    told(run.client.psa_destroy_key("rust-sign"))?;
    same(told(run.client.psa_destroy_key("rust-sign")), Err("PsaErrorDoesNotExist".into()))
}
