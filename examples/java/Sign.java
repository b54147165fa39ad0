import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;

/**
 * Signs with a key that stays in the service, through edgeroot's PKCS#11 module, and verifies with its certificate.
 *
 * <p>java Sign.java pkcs11.cfg ALIAS [SHA256withECDSA]
 *
 * <p>The file says "name = edgeroot", "library = MODULE" and "slotListIndex = 0"; the key's certificate is stored
 * beside it (docs/programs.md, "Java").
 */
public final class Sign {
    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, null);
        PrivateKey key = (PrivateKey) store.getKey(arguments[1], null);
        Certificate certificate = store.getCertificate(arguments[1]);

        String algorithm = arguments.length > 2 ? arguments[2] : "SHA256withECDSA";
        byte[] message = "sensor 17 reads 21.5".getBytes(StandardCharsets.UTF_8);
        Signature signer = Signature.getInstance(algorithm, provider);
        signer.initSign(key);
        signer.update(message);
        byte[] signature = signer.sign();

        // By Java's own code, as whoever gets the message would do it.
        Signature verifier = Signature.getInstance(algorithm);
        verifier.initVerify(certificate);
        verifier.update(message);
        System.out.println(verifier.verify(signature) ? "verified" : "not verified");
    }
}
