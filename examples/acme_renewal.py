"""Get a certificate by ACME (RFC 8555), for a key that stays in the service, as does the account's. Run it to renew.

Usage: python -m examples.acme_renewal DIRECTORY_URL DOMAIN > chain.pem

The server asks for a file at http://DOMAIN/.well-known/acme-challenge/ (clause 8.3), which is served here meanwhile:
on port 80, or ACME_HTTP_PORT. REQUESTS_CA_BUNDLE says whom to believe, where it is not a public server.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from edgeroot.client import Client
from examples.keys import signing_key


@contextmanager
def served(answers: dict[str, str]) -> Iterator[None]:
    """What the server will ask for, by its path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write((answer or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("", int(os.environ.get("ACME_HTTP_PORT", "80"))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def registered(network: client.ClientNetwork, directory_url: str) -> client.ClientV2:
    """A client with the account of its key, which is made if there is none."""
    directory = client.ClientV2.get_directory(directory_url, network)
    known = client.ClientV2(directory, network)
    try:
        known.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    except errors.ConflictError as there_is:
        known.query_registration(messages.RegistrationResource(uri=there_is.location, body=messages.Registration()))
    return known


def main() -> None:
    """Order, prove, and print the chain."""
    directory_url, domain = sys.argv[1:]
    with Client() as parsec:
        account = JWKEC(key=signing_key(parsec, "example-acme-account"))
        public = account.public_key()  # which is all that the library writes down
        network = client.ClientNetwork(account, alg=ES256, user_agent="edgeroot-example")
        acme = registered(network, directory_url)
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
            .sign(signing_key(parsec, "example-acme"), hashes.SHA256())
        )
        order = acme.new_order(request.public_bytes(Encoding.PEM))
        asked = [
            one
            for authorization in order.authorizations
            if authorization.body.status != messages.STATUS_VALID  # a proof of before may hold still (RFC 8555 7.1.3)
            for one in authorization.body.challenges
            if isinstance(one.chall, challenges.HTTP01)
        ]
        with served({one.chall.path: one.chall.validation(public) for one in asked}):
            for one in asked:
                acme.answer_challenge(one, one.chall.response(public))
            print(acme.poll_and_finalize(order).fullchain_pem, end="")


if __name__ == "__main__":
    main()
