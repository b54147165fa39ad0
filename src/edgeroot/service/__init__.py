"""The request pipeline: authenticate, authorise, resolve the name, check the policy, call the provider, commit, audit.

No sockets, no processes: the pipeline is handed a parsed request and answers with bytes, or with a generator that
says what must happen elsewhere first (:mod:`edgeroot.service.effects`).
"""
