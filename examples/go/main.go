// Serves and asks over TLS with a key that stays in the service, through edgeroot's PKCS#11 module.
//
//	go run . MODULE LABEL CERTIFICATE
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/miekg/pkcs11"
)

// key is a crypto.Signer: all that crypto/tls and crypto/x509 want of a private key.
type key struct {
	mutex   sync.Mutex // a session does one thing at a time
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
	handle  pkcs11.ObjectHandle
	public  *ecdsa.PublicKey
}

func (k *key) Public() crypto.PublicKey { return k.public }

func (k *key) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
	if err := k.module.SignInit(k.session, mechanism, k.handle); err != nil {
		return nil, err
	}
	raw, err := k.module.Sign(k.session, digest)
	if err != nil {
		return nil, err
	}
	half := len(raw) / 2 // r and s; TLS wants them in DER
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

func open(path, label string, certificate *x509.Certificate) (*key, error) {
	public, isECDSA := certificate.PublicKey.(*ecdsa.PublicKey)
	module := pkcs11.New(path)
	if module == nil || !isECDSA {
		return nil, errors.New("no module there, or no certificate of an EC key")
	}
	if err := module.Initialize(); err != nil {
		return nil, err
	}
	slots, err := module.GetSlotList(true)
	if err != nil || len(slots) == 0 {
		return nil, fmt.Errorf("no service answers (PARSEC_SERVICE_ENDPOINT): %v", err)
	}
	for _, slot := range slots { // one for each provider
		session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return nil, err
		}
		handles, err := find(module, session, label)
		if err != nil {
			return nil, err
		}
		if len(handles) > 0 {
			return &key{module: module, session: session, handle: handles[0], public: public}, nil
		}
		if err := module.CloseSession(session); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("there is no private key %q", label)
}

func find(module *pkcs11.Ctx, session pkcs11.SessionHandle, label string) ([]pkcs11.ObjectHandle, error) {
	wanted := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	}
	if err := module.FindObjectsInit(session, wanted); err != nil {
		return nil, err
	}
	handles, _, err := module.FindObjects(session, 1)
	if err != nil {
		return nil, err
	}
	return handles, module.FindObjectsFinal(session)
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go run . MODULE LABEL CERTIFICATE")
	}
	text, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		log.Fatal("no PEM in ", os.Args[3])
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := open(os.Args[1], os.Args[2], certificate)
	if err != nil {
		log.Fatal(err)
	}
	own := []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: signer}}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{Certificates: own, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	server.StartTLS()
	defer server.Close()

	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: own, RootCAs: roots}}}
	answer, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(string(body))
}
