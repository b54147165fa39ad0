"""The node's name server, a program of its own: it knows one name. Called names.py LISTEN NAME ADDRESS."""

from __future__ import annotations

import sys

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import DNSServer


class _OneName:
    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = address

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        if request.q.qname != self._name:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:  # of any other type it has none, which is no error
            reply.add_answer(RR(self._name, QTYPE.A, rdata=A(self._address), ttl=60))
        return reply


if __name__ == "__main__":
    listen, name, address = sys.argv[1:]
    DNSServer(_OneName(name, address), address=listen).start()
