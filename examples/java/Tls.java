import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.Provider;
import java.security.SecureRandom;
import java.security.Security;
import java.security.cert.Certificate;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Serves and asks over TLS; both ends prove themselves with a key that stays in the service, and the random numbers are
 * the service's, too.
 *
 * <p>java Tls.java pkcs11.cfg ALIAS TLSv1.3
 *
 * <p>The file is the same as for Sign.java. Java chooses the key; ALIAS says whose certificate either end trusts.
 */
public final class Tls {
    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        // Java's TLS looks for someone who can sign with the key among all providers.
        Security.addProvider(provider);
        KeyStore keys = KeyStore.getInstance("PKCS11", provider);
        keys.load(null, null);
        SSLContext context = context(keys, keys.getCertificate(arguments[1]), provider);

        try (SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0)) {
            listener.setNeedClientAuth(true);
            CompletableFuture<Void> served = CompletableFuture.runAsync(() -> greet(listener));
            try (SSLSocket socket =
                    (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", listener.getLocalPort())) {
                socket.setEnabledProtocols(new String[] {arguments[2]});
                socket.setSoTimeout(30_000);
                InputStreamReader input = new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8);
                System.out.println(new BufferedReader(input).readLine());
            }
            served.get();
        }
    }

    private static SSLContext context(KeyStore keys, Certificate trusted, Provider provider) throws Exception {
        KeyManagerFactory own = KeyManagerFactory.getInstance("PKIX");
        own.init(keys, null);
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        roots.setCertificateEntry("peer", trusted);
        TrustManagerFactory others = TrustManagerFactory.getInstance("PKIX");
        others.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        SecureRandom random = SecureRandom.getInstance("PKCS11", provider);
        context.init(own.getKeyManagers(), others.getTrustManagers(), random);
        return context;
    }

    private static void greet(SSLServerSocket listener) {
        try (SSLSocket socket = (SSLSocket) listener.accept()) {
            socket.startHandshake();
            String line = socket.getSession().getProtocol() + ", hello " + socket.getSession().getPeerPrincipal();
            socket.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }
}
