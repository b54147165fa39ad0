"""The node's name server, a program of its own. Called names.py LISTEN FILE.

A line of the file is a name and its address. It is read for each question: names may be added meanwhile.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import DNSServer


class _Names:
    def __init__(self, path: Path) -> None:
        self._path = path

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        known = dict(line.split() for line in self._path.read_text().splitlines())
        reply, name = request.reply(), str(request.q.qname).rstrip(".")
        if name not in known:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:  # of any other type it has none, which is no error
            reply.add_answer(RR(name, QTYPE.A, rdata=A(known[name]), ttl=60))
        return reply


if __name__ == "__main__":
    listen, file = sys.argv[1:]
    DNSServer(_Names(Path(file)), address=listen).start()
