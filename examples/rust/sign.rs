//! Signs with a key that stays in the service, and verifies. Dependency: `parsec-client = "0.16"`.

use parsec_client::core::interface::operations::psa_algorithm::{Algorithm, AsymmetricSignature, Hash};
use parsec_client::core::interface::operations::psa_key_attributes::{
    Attributes, EccFamily, Lifetime, Policy, Type, UsageFlags,
};
use parsec_client::BasicClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The service that PARSEC_SERVICE_ENDPOINT names; the name counts only where the service lets programs say theirs.
    let client = BasicClient::new(Some("example".into()))?;

    let ecdsa = AsymmetricSignature::Ecdsa { hash_alg: Hash::Sha256.into() };
    let mut usage_flags = UsageFlags::default();
    let _ = usage_flags.set_sign_hash().set_verify_hash().set_sign_message().set_verify_message();
    let attributes = Attributes {
        lifetime: Lifetime::Persistent,
        key_type: Type::EccKeyPair { curve_family: EccFamily::SecpR1 },
        bits: 256,
        policy: Policy { usage_flags, permitted_algorithms: Algorithm::AsymmetricSignature(ecdsa) },
    };
    client.psa_generate_key("example-rust", attributes)?;

    let hash = client.psa_hash_compute(Hash::Sha256, b"sensor 17 reads 21.5")?;
    let signature = client.psa_sign_hash("example-rust", &hash, ecdsa)?;
    client.psa_verify_hash("example-rust", &hash, ecdsa, &signature)?;
    println!("verified a signature of {} bytes", signature.len());

    client.psa_destroy_key("example-rust")?;
    Ok(())
}
